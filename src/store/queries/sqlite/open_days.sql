-- From now on the days from $1 to $2 are dropped whole.
WITH RECURSIVE d (day) AS (SELECT $1 UNION ALL SELECT day + 1 FROM d WHERE day < $2)
INSERT INTO days SELECT day FROM d WHERE TRUE ON CONFLICT DO NOTHING
