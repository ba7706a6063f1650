from revcred.postgresql.deadlines import database_deadline, database_time_left

__all__ = ["database_deadline", "database_time_left"]
