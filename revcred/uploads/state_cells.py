"""Cells that say in which state a credential is, in the words of other systems."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from django.utils.translation import gettext_noop

from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.key_cells import strip_invisible_ends
from revcred.uploads.moment_cells import DayOrder, parse_moment


class CredentialState(StrEnum):
    """A state as a list may bring it."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    EXPIRED = "expired"


# Of several states of one row the gravest counts: one that is over here is over altogether.
STATES_BY_GRAVITY = (
    CredentialState.ACTIVE,
    CredentialState.SUSPENDED,
    CredentialState.EXPIRED,
    CredentialState.REVOKED,
)
WORDS_BY_STATE: Mapping[CredentialState, str] = {
    CredentialState.ACTIVE: "active activated enabled enable on true yes y 1 live approved accepted"
    " valid ok open published production granted current aktiv aktiviert ja wahr freigegeben"
    " actif activé approuvé oui vrai activo activado habilitado aprobado sí verdadero attivo"
    " attivato abilitato approvato vero ativo ativado aprovado sim verdadeiro actief geactiveerd"
    " goedgekeurd waar"
    " genehmigt gültig",
    CredentialState.SUSPENDED: "suspended suspend disabled disable inactive deactivated paused"
    " blocked on_hold hold off false no n 0 pending created submitted waiting requested locked"
    " unapproved frozen deaktiviert inaktiv gesperrt pausiert ausgesetzt nein falsch ausstehend"
    " beantragt inactif désactivé suspendu bloqué non faux inactivo desactivado suspendido"
    " bloqueado pendiente falso inattivo disattivato sospeso bloccato inativo desativado suspenso"
    " não inactief"
    " uitgeschakeld gedeactiveerd geblokkeerd opgeschort nee onwaar",
    CredentialState.REVOKED: "revoked revoke deleted closed cancelled canceled terminated removed"
    " rejected denied retired destroyed withdrawn invalid compromised widerrufen gelöscht gekündigt"
    " geschlossen abgelehnt révoqué supprimé revocado eliminado cancelado revocato eliminato"
    " revogado excluído ingetrokken verwijderd",
    CredentialState.EXPIRED: "expired lapsed ended abgelaufen verfallen beendet expiré"
    " caducado vencido expirado scaduto verlopen",
}
STATES_BY_WORD = {word: state for state, words in WORDS_BY_STATE.items() for word in words.split()}
YES_WORDS = frozenset(["true", "yes", "y", "1", "on", "ja", "wahr", "x", "oui", "sí", "si", "sim"])
NO_WORDS = frozenset(["false", "no", "n", "0", "off", "nein", "falsch", "non", "não", "nee"])
UNKNOWN_STATE_MESSAGE = gettext_noop(
    "This state is not known. Say which of active, suspended, revoked and expired it is."
)
WORD_PAIR = re.compile(r"\s*([^=,;]+?)\s*=\s*(\w+)\s*")


def parse_state(cell: str, *, words: Mapping[str, CredentialState]) -> str:
    """Return the gravest of the states in the cell, or "". `words`: states by further words.

    Raises InvalidCell where a word is not known.
    """
    found = [_state_of(each, words) for each in _words_in(cell)]
    if None in found:
        raise InvalidCell(UNKNOWN_STATE_MESSAGE)
    return max(filter(None, found), key=STATES_BY_GRAVITY.index) if found else ""


def unknown_words(cell: str, *, words: Mapping[str, CredentialState]) -> list[str]:
    """Return the words in the cell that say no known state."""
    return [word for word in _words_in(cell) if _state_of(word, words) is None]


def _words_in(cell: str) -> list[str]:
    return [word for each in re.split(r"[|,;]", cell) if (word := each.strip())]


def _state_of(text: str, words: Mapping[str, CredentialState]) -> CredentialState | None:
    word = _normalised_word(text)
    return words.get(word) or STATES_BY_WORD.get(word)


def parse_switched_off(cell: str) -> str:
    """Return "suspended" for yes and "active" for no, as in a column “disabled”.

    A moment says yes if it has come. Raises InvalidCell.
    """
    return _state_if(CredentialState.SUSPENDED, cell)


def parse_withdrawn(cell: str) -> str:
    """Return "revoked" for yes and "active" for no, as in a column “deleted at”.

    A moment says yes if it has come. Raises InvalidCell.
    """
    return _state_if(CredentialState.REVOKED, cell)


def _state_if(state: CredentialState, cell: str) -> str:
    # Several columns may say it, such as “deleted” and “deleted at”.
    answers = {_is_so(each) for each in cell.split("|")} - {""}
    if not answers:
        return ""
    return state if "true" in answers else CredentialState.ACTIVE


def _is_so(text: str) -> str:
    try:
        return parse_yes_or_no(text)
    except InvalidCell:
        return _has_come(text)


def _has_come(cell: str) -> str:
    """Return "true" or "false", or "" for words such as never. Raises InvalidCell."""
    moments = []
    # The order of day and month may be either: where it matters, the date is not taken.
    for order in (DayOrder.DAY_FIRST, DayOrder.MONTH_FIRST):
        with suppress(InvalidCell):
            moments.append(parse_moment(cell, day_order=order, time_zone=ZoneInfo("UTC")))
    if not moments:
        raise InvalidCell(gettext_noop("This is neither yes nor no, nor a date or time."))
    now = datetime.now(UTC)
    come = {moment and datetime.fromisoformat(moment) <= now for moment in moments}
    if len(come) > 1:
        raise InvalidCell(gettext_noop("This date can be read two ways. Write 2027-12-31."))
    return {"": "", True: "true", False: "false"}[come.pop()]


def parse_yes_or_no(cell: str) -> str:
    """Return "true" or "false", or "" for a blank cell. Raises InvalidCell."""
    word = _normalised_word(cell)
    if not word:
        return ""
    if word in YES_WORDS | NO_WORDS:
        return "true" if word in YES_WORDS else "false"
    raise InvalidCell(gettext_noop("This is neither yes nor no."))


def parse_state_words(text: str) -> dict[str, CredentialState]:
    """Return the states by normalised words, from text such as "ruht = suspended, frei = active".

    Raises InvalidCell.
    """
    return {_normalised_word(word): state for word, state in split_state_words(text)}


def split_state_words(text: str) -> list[tuple[str, CredentialState]]:
    """Return (word as written, state) of such a text. Raises InvalidCell."""
    pairs = []
    for pair in re.split(r"[,;\n]", text):
        if not pair.strip():
            continue
        found = WORD_PAIR.fullmatch(pair)
        if not found or found[2].lower() not in [*CredentialState]:
            raise InvalidCell(
                f"Write pairs such as “{pair.strip()[:40]} = suspended”. States are"
                f" {', '.join(CredentialState)}."
            )
        pairs.append((found[1], CredentialState(found[2].lower())))
    return pairs


def _normalised_word(text: str) -> str:
    return re.sub(r"[\s-]+", "_", strip_invisible_ends(text)).casefold()
