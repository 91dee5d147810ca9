-- Which packages do most others need, directly or through others? (And how much would be gone without them?)
WITH RECURSIVE needs(root, package) AS (
    SELECT dependency, package FROM depends
    UNION
    SELECT needs.root, depends.package FROM needs JOIN depends ON depends.dependency = needs.package
)
SELECT
    needed.name AS needed,
    needed.section AS section,
    count(*) AS needed_by,
    sum(needing.installed_kib) AS their_installed_kib
FROM needs
    JOIN packages AS needed ON needed.id = needs.root
    JOIN packages AS needing ON needing.id = needs.package
GROUP BY needs.root
ORDER BY needed_by DESC, needed
LIMIT 25;
