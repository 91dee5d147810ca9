'use strict';
// solc's command line over the solcjs (WebAssembly) compiler of npm: no registry that we use carries a native solc.
// It speaks as much of it as py-solc-x, ape-solidity and forge need: --standard-json and --combined-json, with import
// remappings and search paths. `install-solc` writes the executable that calls it.
//
// usage: node solc.js <npm solc package> [solc arguments]
const fs = require('fs');
const path = require('path');

/** Options that take a value, by their names on the command line. */
const VALUED = {
  '--base-path': 'basePath',
  '--include-path': 'includePath',
  '-I': 'includePath',
  '--allow-paths': 'allowPaths',
  '--optimize-runs': 'optimizeRuns',
  '--evm-version': 'evmVersion',
  '--combined-json': 'combinedJson',
  '--metadata-hash': 'metadataHash',
};
const FLAGS = { '--standard-json': 'standardJson', '--optimize': 'optimize', '--via-ir': 'viaIr', '--version': 'version' };

class UsageError extends Error {}

function parseArguments(argv) {
  const options = { remappings: [], files: [], includePaths: [] };
  const rest = [...argv];
  while (rest.length > 0) {
    const word = rest.shift();
    const equals = word.startsWith('--') ? word.indexOf('=') : -1;
    const name = equals > 0 ? word.slice(0, equals) : word;
    if (name in VALUED) {
      const value = equals > 0 ? word.slice(equals + 1) : rest.shift();
      if (value === undefined) throw new UsageError(`${name} needs a value`);
      if (VALUED[name] === 'includePath') options.includePaths.push(value);
      else options[VALUED[name]] = value;
    } else if (name in FLAGS) options[FLAGS[name]] = true;
    else if (word !== '-' && word.startsWith('-')) throw new UsageError(`this wrapper has no ${word}; add it to ${__filename}`);
    else if (word.includes('=')) options.remappings.push(word);
    else options.files.push(word);
  }
  return options;
}

/** The import callback: look a file up under the base path and the include paths, as solc does. */
function makeLoader(options) {
  const roots = [options.basePath || '.', ...options.includePaths];
  return (name) => {
    for (const candidate of path.isAbsolute(name) ? [name] : roots.map((root) => path.join(root, name))) {
      if (fs.statSync(candidate, { throwIfNoEntry: false })?.isFile()) {
        return { contents: fs.readFileSync(candidate, 'utf8') };
      }
    }
    return { error: `File not found. Searched: ${roots.join(', ')}` };
  };
}

const readStdin = () => fs.readFileSync(0, 'utf8');

/** Write all of `text`: a pipe may take a part, or nothing until its reader has caught up. */
function writeStdout(text) {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length;) {
    try {
      done += fs.writeSync(1, bytes, done);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

function compileStandardJson(solc, options) {
  const file = options.files[0];
  const text = file && file !== '-' ? fs.readFileSync(file, 'utf8') : readStdin();
  const load = makeLoader(options);
  let input;
  try {
    input = JSON.parse(text);
  } catch {
    return solc.compile(text); // solc's own message about bad JSON
  }
  for (const source of Object.values(input.sources || {})) {
    if (source.content !== undefined || !source.urls) continue; // solcjs doesn't read `urls` by itself
    const found = source.urls.map((url) => load(url.replace(/^file:\/\//, ''))).find((file) => file.contents !== undefined);
    if (found) {
      source.content = found.contents;
      delete source.urls;
    }
  }
  return solc.compile(JSON.stringify(input), { import: load });
}

/** What `--combined-json` calls the fields of standard JSON. */
const COMBINED = {
  abi: (contract) => contract.abi,
  bin: (contract) => contract.evm?.bytecode?.object || '',
  'bin-runtime': (contract) => contract.evm?.deployedBytecode?.object || '',
  srcmap: (contract) => contract.evm?.bytecode?.sourceMap || '',
  'srcmap-runtime': (contract) => contract.evm?.deployedBytecode?.sourceMap || '',
  opcodes: (contract) => contract.evm?.bytecode?.opcodes || '',
  hashes: (contract) => contract.evm?.methodIdentifiers || {},
  userdoc: (contract) => contract.userdoc,
  devdoc: (contract) => contract.devdoc,
  metadata: (contract) => contract.metadata,
  'storage-layout': (contract) => contract.storageLayout || null,
};

function compileCombinedJson(solc, options) {
  const sources = {};
  for (const file of options.files) {
    const relative = path.relative(path.resolve(options.basePath || '.'), path.resolve(file));
    const name = file === '-' ? '<stdin>' : !options.basePath || relative.startsWith('..') ? file : relative;
    sources[name] = { content: file === '-' ? readStdin() : fs.readFileSync(file, 'utf8') };
  }
  const settings = {
    remappings: options.remappings,
    optimizer: { enabled: Boolean(options.optimize), runs: Number(options.optimizeRuns || 200) },
    outputSelection: { '*': { '': ['ast'], '*': ['*'] } },
  };
  if (options.evmVersion) settings.evmVersion = options.evmVersion;
  if (options.viaIr) settings.viaIR = true;
  if (options.metadataHash) settings.metadata = { bytecodeHash: options.metadataHash };
  const input = { language: 'Solidity', sources, settings };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: makeLoader(options) }));
  for (const error of output.errors || []) process.stderr.write(`${error.formattedMessage || error.message}\n`);
  if ((output.errors || []).some((error) => error.severity === 'error')) process.exit(1);

  const wanted = options.combinedJson.split(',');
  const result = { contracts: {}, sourceList: Object.keys(output.sources), version: solc.version() };
  for (const [file, contracts] of Object.entries(output.contracts || {})) {
    for (const [name, contract] of Object.entries(contracts)) {
      const known = wanted.filter((field) => field in COMBINED);
      result.contracts[`${file}:${name}`] = Object.fromEntries(known.map((field) => [field, COMBINED[field](contract)]));
    }
  }
  if (wanted.includes('ast')) {
    result.sources = {};
    for (const [file, source] of Object.entries(output.sources)) result.sources[file] = { id: source.id, AST: source.ast };
  }
  return `${JSON.stringify(result)}\n`;
}

function main([packagePath, ...argv]) {
  const options = parseArguments(argv);
  const solc = require(path.resolve(packagePath));
  process.removeAllListeners('uncaughtException'); // solcjs prints its whole source on any error
  if (options.version) writeStdout(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
  else if (options.standardJson) writeStdout(compileStandardJson(solc, options));
  else if (options.combinedJson) writeStdout(compileCombinedJson(solc, options));
  else throw new UsageError('say --standard-json or --combined-json');
}

try {
  main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`solc (solcjs): ${error.message}\n`);
  process.exit(2);
}
