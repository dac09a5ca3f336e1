-- How many notifications are parked, and the oldest due time among them.
SELECT count(*) AS parked, min(due) AS oldest_due FROM parked
