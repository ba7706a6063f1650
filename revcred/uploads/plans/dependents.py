"""Obstacles to undoing: queries for created things that something else depends on."""


def depended_on_query(  # noqa: PLR0917 - in the order in which the query reads them
    target: str, source: str, source_type: str, source_id: str, belongs: str, also: str = "true"
) -> str:
    """Return a query for the changes that created a thing on which rows of `source` depend.

    A row of `source` is a thing of type `source_type` with the number `source_id`, and `belongs`
    is its column that names the created thing. Rows that the same upload created do not count if
    {own} is true: they are undone with it.
    """
    return f"""
        SELECT c.id FROM {{changes}} c
        WHERE c.target_type = '{target}' AND c.action = 'create' AND EXISTS (
            SELECT FROM {source}
            WHERE {belongs} = c.target_id AND {also} AND NOT ({{own}} AND EXISTS (
                SELECT FROM revcred_uploadchange o
                WHERE o.upload_id = c.upload_id AND o.target_type = '{source_type}'
                    AND o.target_id = {source_id}
            ))
        )
    """
