-- Keeps the number.
CREATE TABLE IF NOT EXISTS placeholder_2 (x INTEGER) STRICT;
DROP TABLE placeholder_2;
