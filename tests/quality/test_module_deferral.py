"""A library is imported without what it does not need here, and what is needed later is there."""

import sys

import pytest

from wearalike.quality.module_deferral import defer_modules, hide_modules


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package with a large part, beside a library that imports it."""
    (tmp_path / "drawn_part").mkdir()
    (tmp_path / "drawn_part" / "__init__.py").write_text("")
    (tmp_path / "drawn_part" / "large.py").write_text("SIZE = 7\n")
    (tmp_path / "drawn_user.py").write_text("from drawn_part import large\n")
    (tmp_path / "drawn_taker.py").write_text(
        "try:\n    import drawn_part\nexcept ImportError:\n    drawn_part = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = ("drawn_part", "drawn_part.large", "drawn_user", "drawn_taker")
    yield
    for name in names:
        sys.modules.pop(name, None)


def test_a_deferred_module_is_imported_when_it_is_used(library):
    with defer_modules("drawn_part.large"):
        import drawn_user
    assert "drawn_part.large" not in sys.modules
    assert drawn_user.large.SIZE == 7 and "drawn_part.large" in sys.modules
    import drawn_part.large

    assert type(drawn_part.large) is type(sys)
    with pytest.raises(AttributeError):
        _ = drawn_user.large.WEIGHT
    with defer_modules("drawn_part.large"):
        assert sys.modules["drawn_part.large"] is drawn_part.large


def test_a_hidden_module_is_there_again_afterwards(library):
    with hide_modules("drawn_part"):
        import drawn_taker
    assert drawn_taker.drawn_part is None
    import drawn_part

    with hide_modules("drawn_part"):
        import drawn_part as again
    assert again is drawn_part
