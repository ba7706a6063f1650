"""What keeps something that an upload created from being deleted again."""


def depended_on_query(  # noqa: PLR0917 - as the query reads
    target: str, source: str, its_type: str, number: str, belongs: str, also: str = "true"
) -> str:
    """A query for what was created and has in `source` something that is not the upload's, too.

    `number` tells the thing there, of the type `its_type`, and `belongs` what was created.
    """
    return f"""
        SELECT c.id FROM {{changes}} c
        WHERE c.target_type = '{target}' AND c.action = 'create' AND EXISTS (
            SELECT FROM {source}
            WHERE {belongs} = c.target_id AND {also} AND NOT ({{own}} AND EXISTS (
                SELECT FROM revcred_uploadchange o
                WHERE o.upload_id = c.upload_id AND o.target_type = '{its_type}'
                    AND o.target_id = {number}
            ))
        )
    """
