-- has_table_privilege is true for any of a list, so each is asked for.
SELECT bool_and(has_table_privilege(t.name, p.name))
FROM unnest(ARRAY['attempts', 'parked', 'partition_owner']) AS t (name),
     unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (name)
