"""Pictures as people have them: turned, grey, 16-bit, CMYK, transparent, broken, huge."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from wherry.core.errors import BadInputError, NotFoundError
from wherry.runtime import images
from wherry.runtime.images import image_array, read_folder, read_image

RED_LEFT = np.zeros((8, 16, 3), np.uint8)
RED_LEFT[:, :8, 0] = 255


def saved(folder, name, array, mode=None, **options):
    path = folder / name
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def test_a_png_comes_back_as_it_was(tmp_path):
    assert np.array_equal(read_image(saved(tmp_path, "a.png", RED_LEFT)), RED_LEFT)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_exif_rotation_is_applied(tmp_path, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_image(saved(tmp_path, "a.png", RED_LEFT, exif=exif))
    assert np.array_equal(found, np.rot90(RED_LEFT, turns))


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name in ("g.png", "g.bmp", "g.tif", "g.pgm"):
        found = read_image(saved(tmp_path, name, grey))
        assert np.array_equal(found, np.repeat(grey[..., None], 3, axis=-1))


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path):
    deep = np.array([[0, 257, 32896], [65535, 256, 128]], np.uint16)
    for name in ("d.png", "d.tif"):
        found = read_image(saved(tmp_path, name, deep))
        assert found[..., 0].tolist() == [[0, 1, 128], [255, 1, 0]]
        assert np.ptp(found, axis=-1).max() == 0


def test_cmyk_keeps_its_colours(tmp_path):
    found = read_image(saved(tmp_path, "c.tif", RED_LEFT, mode="CMYK"))
    assert np.array_equal(found, RED_LEFT)
    jpeg = read_image(saved(tmp_path, "c.jpg", RED_LEFT, mode="CMYK", quality=95))
    assert np.abs(jpeg.astype(int) - RED_LEFT).mean() < 8


def test_an_opaque_alpha_channel_is_dropped_and_a_transparent_one_refused(tmp_path):
    opaque = np.dstack([RED_LEFT, np.full((8, 16), 255, np.uint8)])
    assert np.array_equal(read_image(saved(tmp_path, "o.png", opaque)), RED_LEFT)
    opaque[0, 0, 3] = 10
    with pytest.raises(BadInputError, match=r"t\.png is transparent on 0\.8% of its pixels"):
        read_image(saved(tmp_path, "t.png", opaque))


def test_a_palette_is_looked_up(tmp_path):
    assert np.array_equal(read_image(saved(tmp_path, "p.png", RED_LEFT, mode="P")), RED_LEFT)


def test_numbers_without_a_range_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="range is not known"):
        read_image(saved(tmp_path, "f.tif", np.ones((4, 4), np.float32)))


def test_several_pictures_in_a_file_are_refused(tmp_path):
    first, second = Image.fromarray(RED_LEFT), Image.fromarray(RED_LEFT[:, ::-1])
    first.save(tmp_path / "two.gif", save_all=True, append_images=[second])
    with pytest.raises(BadInputError, match="holds 2 pictures"):
        read_image(tmp_path / "two.gif")


def test_the_previews_of_a_phone_are_not_the_picture(tmp_path):
    preview = Image.fromarray(RED_LEFT[:, ::-1])
    Image.fromarray(RED_LEFT).save(tmp_path / "m.jpg", format="MPO", save_all=True, append_images=[preview], quality=95)
    assert np.abs(read_image(tmp_path / "m.jpg").astype(int) - RED_LEFT).mean() < 8


def bomb(width, height):
    """A PNG of a few bytes that claims to be that large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_001, 60_000])
def test_a_bomb_is_not_decoded(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(bomb(side, side))
    with pytest.raises(BadInputError, match="million pixels"):
        read_image(tmp_path / "bomb.png")


def test_broken_files_say_so(tmp_path):
    whole = saved(tmp_path, "a.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:3000])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n%%EndComments\n")
    with pytest.raises(BadInputError, match=r"half\.png is damaged"):
        read_image(tmp_path / "half.png")
    for name in ("text.jpg", "empty.png", "script.eps"):
        with pytest.raises(BadInputError, match="not a picture of a known kind"):
            read_image(tmp_path / name)
    with pytest.raises(NotFoundError):
        read_image(tmp_path / "gone.png")


def test_a_folder_is_read_in_order_and_loses_nothing(tmp_path):
    (tmp_path / "cats").mkdir()
    saved(tmp_path / "cats", "1.png", RED_LEFT)
    saved(tmp_path, "z.png", RED_LEFT)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".hidden").write_text("x")
    found = list(read_folder(tmp_path))
    assert [path.relative_to(tmp_path).as_posix() for path, _ in found] == ["notes.txt", "z.png", "cats/1.png"]
    assert isinstance(found[0][1], str)
    assert all(np.array_equal(array, RED_LEFT) for _, array in found[1:])
    with pytest.raises(NotFoundError):
        next(read_folder(tmp_path / "gone"))


def test_a_picture_in_memory(monkeypatch):
    assert np.array_equal(image_array(Image.fromarray(RED_LEFT)), RED_LEFT)
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(BadInputError, match="million pixels"):
        image_array(Image.fromarray(RED_LEFT))
