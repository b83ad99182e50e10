"""What the figures were measured on is said with them."""

from loadtest.bench.machine import described


def test_the_machine_is_described() -> None:
    found = described()
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0
    assert all(found[name] for name in ("cpu", "kernel", "python", "uvloop", "httptools", "msgspec", "at"))
    assert "commit" in found
