import pytest

from larq_nas import versions


@pytest.mark.parametrize("found", [("2.14.0", "2.14.0"), ("2.19.0", "2.18.0"), ("2.22.0", "2.22.0"), ("3.0", "3.0")])
def test_another_tensorflow_is_named_with_what_to_install(monkeypatch, found):
    installed = dict(zip(("tensorflow", "tf-keras"), found, strict=True))
    monkeypatch.setattr(versions.metadata, "version", installed.__getitem__)
    with pytest.raises(ImportError, match=f"found tensorflow {found[0]}, tf-keras {found[1]}: pip install"):
        versions.check_tensorflow()
