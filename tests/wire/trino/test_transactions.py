"""A transaction id names its backend, and nobody else can make one that does."""

import pytest

from gateway.wire.trino.transactions import TransactionIds, UnknownTransaction

IDS = TransactionIds(b"k" * 32)
UUID = "f2b5a9c1-0d5e-4c61-9a7e-1d2e3f405162"


def test_any_process_with_the_key_can_read_it() -> None:
    wrapped = IDS.wrap(UUID, "trino-ä.1")
    assert TransactionIds(b"k" * 32).unwrap(wrapped) == (UUID, "trino-ä.1")
    assert wrapped.isascii()


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.replace("f2b5", "f2b6"),
        lambda w: w[:-1] + ("A" if w[-1] != "A" else "B"),
        lambda w: (
            IDS.wrap(UUID, "b").split(".")[0]
            + "."
            + IDS.wrap(UUID, "other").split(".")[1]
            + "."
            + w.split(".")[2]
        ),
        lambda w: w + ".x",
        lambda w: UUID,
        lambda w: "",
        lambda w: "..",
        lambda w: w + "\n",
        lambda w: TransactionIds(b"other" * 8).wrap(UUID, "trino"),
    ],
)
def test_a_tampered_id_is_unknown(change) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnknownTransaction) as caught:
        IDS.unwrap(change(IDS.wrap(UUID, "trino")))
    assert UUID not in str(caught.value)


@pytest.mark.parametrize("strange", ["", "a.b", "x" * 65, "a\r\nb", "ä"])
def test_an_engine_cannot_smuggle_something_into_the_id(strange: str) -> None:
    with pytest.raises(UnknownTransaction):
        IDS.wrap(strange, "trino")
