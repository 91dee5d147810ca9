'use strict';
// One solc that stays: a line of standard JSON in, a line of its answer out. Loading the compiler and warming it up costs
// more than compiling a contract, and mutation testing compiles thousands. Imports must all be in the input's sources.
//
// usage: node solc-server.js <npm solc package>
const path = require('path');
const readline = require('readline');

const solc = require(path.resolve(process.argv[2]));
process.removeAllListeners('uncaughtException'); // solcjs prints its whole source on any error
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  process.stdout.write(`${JSON.stringify(JSON.parse(solc.compile(line)))}\n`);
});
