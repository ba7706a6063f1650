from revcred.postgresql.deadlines import (
    abandon_waiting,
    database_deadline,
    database_time_left,
)

__all__ = ["abandon_waiting", "database_deadline", "database_time_left"]
