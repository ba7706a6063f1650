from revcred.postgresql.patience import patience, patience_left

__all__ = ["patience", "patience_left"]
