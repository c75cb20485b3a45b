import pytest

from lars_jax.data import FolderSource, load_source
from lars_jax.errors import InputError
from tests.data.support import write_digits


def test_prefix_chooses_a_folder(tmp_path):
    write_digits(tmp_path, count=2)
    source = load_source(f"folder:{tmp_path}", "train")
    assert isinstance(source, FolderSource)
    assert source.name == f"folder:{tmp_path}/train"


@pytest.mark.parametrize("dataset", ["folder:/no", "folder:/no/such/place"])
def test_folder_that_is_not_there_is_refused(dataset):
    with pytest.raises(InputError, match="must be PATH/SPLIT/CLASS/image"):
        load_source(dataset, "train")
