from __future__ import annotations

import pytest

from soundx.clips.metadata import check_names, read_metadata
from soundx.errors import SoundxError
from tests.conftest import FORGED

MEANT = {"cat/0.wav": "bird", "cat/1.wav": "a, b"}


@pytest.mark.parametrize(
    "content",
    [
        'filename,label\ncat/0.wav,bird\ncat/1.wav,"a, b"\n',
        'filename;label\r\ncat/0.wav;bird\r\n\r\ncat/1.wav;"a, b"\r\n',
        "filename\tlabel\ncat/0.wav\tbird\ncat/1.wav\ta, b\n",
        "\ufefffilename,label,\ncat/0.wav,bird,\ncat/1.wav,'a, b',\n".replace("'", '"'),
        '\n Filename ,LABEL\n./cat/0.wav, bird\ncat\\1.wav,"a, b"\n',
        'filename,label\n{root}/cat/0.wav,bird\n{root}/cat/1.wav,"a, b"\n',
        'notes,filename,label\n,cat/0.wav,bird\nx,cat/1.wav,"a, b"\n',
    ],
    ids=["commas", "semicolons", "tabs", "one too many", "loose", "whole paths", "more columns"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_it_is_read_as_it_is_meant(tmp_path, content, encoding):
    path = tmp_path / "metadata.csv"
    path.write_bytes(content.replace("{root}", str(tmp_path)).encode(encoding))
    table = read_metadata(path, [tmp_path])
    assert table["label"].str.strip().to_dict() == MEANT


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('filename,label\n0.wav,"dog\n1.wav,cat\n', "line break in the label of row 2: there is a"),
        ('filename,label\n0.wav,dog\n"1.wav,cat\n2.wav,"a, b"\n', "in the filename of row 3"),
        ('filename,label,note\n0.wav,dog,"x\n1.wav,cat,\n', "ends inside a quote"),
        ('filename,label,note\n0.wav,dog,"x', "ends inside a quote"),
    ],
)
def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path, content, told):
    path = tmp_path / "metadata.csv"
    path.write_text(content)
    with pytest.raises(SoundxError, match=told):
        read_metadata(path)


def test_a_column_of_the_owners_may_have_line_breaks(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text('filename,note,label\n0.wav,"a\nb",dog\n1.wav,"c\nd",cat')
    table = read_metadata(path)
    assert table["label"].to_dict() == {"0.wav": "dog", "1.wav": "cat"}
    assert list(table) == ["label"]


@pytest.mark.parametrize("content", ["filename,label\n", "filename,label\u20280.wav,dog\u2028"])
def test_a_table_without_rows_is_said(tmp_path, content, caplog):
    path = tmp_path / "metadata.csv"
    path.write_text(content)
    assert not len(read_metadata(path))
    assert "no rows below its header" in caplog.text


def test_names_that_look_like_numbers_stay_names(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text("filename,label,group\nNA/1.wav,001,1e3\nnull/2.wav,NA,\n3.wav,nan\n")
    table = read_metadata(path)
    assert table["label"].to_dict() == {"NA/1.wav": "001", "null/2.wav": "NA", "3.wav": "nan"}
    assert table["group"].tolist() == ["1e3", "", ""]


def test_a_name_in_it_writes_no_line_of_its_own(tmp_path):
    path = tmp_path / "metadata.csv"
    forged = FORGED.replace("\n", "").replace("\r", "")  # those are refused as such
    path.write_text(f"filename\n{forged}\n{forged}\n", newline="")
    with pytest.raises(SoundxError, match="twice") as told:
        read_metadata(path)
    assert str(told.value).isprintable()
    path.write_text(f"filename\n{forged}\n", newline="")
    with pytest.raises(SoundxError, match="no file that is there") as told:
        check_names(read_metadata(path), ["cat/0.wav"], path)
    assert str(told.value).isprintable()


def test_another_table_is_not_told_in_full(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text(f'name,iban of the owner of it all,"{FORGED}",a,b,PASSPORT\n1,2,3,4,5,6\n')
    with pytest.raises(SoundxError, match="no column 'filename'; it has 6 columns") as told:
        read_metadata(path)
    assert "among them name, a, b. Expected: filename,label" in str(told.value)
    assert "passport" not in str(told.value)
    assert "iban" not in str(told.value)
    assert str(told.value).isprintable()
