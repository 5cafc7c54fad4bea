"""The network of the likeness encoder: its descriptors are of the item, its file holds what is its
own, and a file that does not fit is refused.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch

from wearalike.encoding import item_describer, likeness_net
from wearalike.encoding.descriptor_layout import COLOUR_WIDTHS, LITE0_LAYOUT
from wearalike.encoding.item_describer import ItemDescriber, MaskHead
from wearalike.encoding.likeness_net import CodeHeads, LikenessNet
from wearalike.metrics import colour_space
from wearalike.models import registry
from wearalike.models.files import BadModel


def untrained(view: bool = False, mask_width: int = 48, hidden: tuple[int, int] = (256, 256)):
    """A network with the weights of ImageNet and heads drawn at random."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    mean = rng.normal(size=LITE0_LAYOUT.count).astype(np.float32)
    scale = rng.uniform(0.5, 2, LITE0_LAYOUT.count).astype(np.float32)
    describer = ItemDescriber(MaskHead(mask_width), likeness_net.imagenet_palette())
    heads = CodeHeads(mean, scale, *hidden)
    return LikenessNet(likeness_net.imagenet_trunk(), describer, heads, view).eval()


@pytest.fixture(scope="module")
def network():
    return untrained(view=True)


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_file_without_a_trunk_gives_the_same_numbers_with_that_of_imagenet(network, pictures):
    arrays = likeness_net.export_arrays(network)
    assert not [name for name in arrays if name.startswith("trunk.")]
    assert sum(array.nbytes for array in arrays.values()) < 3.5e6
    loaded = likeness_net.load_likeness_net(arrays)
    with torch.inference_mode():
        wanted, found = network(pictures), loaded(pictures)
    assert found.shape == (2, 261)
    # float16 keeps three decimals.
    assert (wanted - found).abs().max() < 0.02 * wanted.abs().max()
    for name in ("heads.mean", "heads.scale", "describer.palette"):
        assert torch.equal(loaded.state_dict()[name], network.state_dict()[name]), name


def test_a_file_may_bring_a_trunk_of_its_own(pictures):
    tuned = untrained()
    with torch.no_grad():
        tuned.trunk.final[0].weight.mul_(0.5)
    arrays = likeness_net.export_arrays(tuned, has_own_trunk=True)
    loaded = likeness_net.load_likeness_net(arrays)
    with torch.inference_mode():
        wanted, found = tuned.describe(pictures), loaded.describe(pictures)
        plain = untrained().describe(pictures)
    columns = LITE0_LAYOUT.columns("picture")
    assert (wanted - found)[:, columns].abs().max() < 0.05
    assert (plain - found)[:, columns].abs().max() > 0.2
    del arrays["trunk.final.0.weight"]
    with pytest.raises(BadModel, match=r"trunk\.final\.0\.weight"):
        likeness_net.load_likeness_net(arrays)


def test_widths_are_those_of_the_arrays(pictures):
    wide = untrained(mask_width=32, hidden=(160, 96))
    loaded = likeness_net.load_likeness_net(likeness_net.export_arrays(wide))
    assert loaded.heads.shape.hidden.weight.shape == (160, 160)
    assert loaded.heads.colour.hidden.weight.shape == (96, 96)
    assert loaded.describer.mask.logit.weight.shape == (1, 32, 1, 1)
    with torch.inference_mode():
        assert loaded(pictures).shape == (2, 256)


def test_arrays_that_do_not_fit_are_refused(network):
    good = likeness_net.export_arrays(network)
    bias = "heads.shape.projection.bias"
    for change, message in [
        ({"heads.colour.output.bias": None}, r"heads\.colour\.output\.bias"),
        ({"describer.mask.from_stage2.bias": None}, "from_stage2.bias is missing"),
        ({"stranger.weight": np.ones(3, np.float32)}, r"stranger\.weight"),
        ({"view.bias": np.ones(3, np.float32)}, "size mismatch for view.bias"),
        ({bias: np.ones(10**6, np.float32)}, r"\(1000000,\), wanted one axis of at most 4,096"),
        ({bias: np.ones((2, 128), np.float32)}, r"\(2, 128\), wanted one axis"),
        ({"heads.scale": np.zeros(LITE0_LAYOUT.count, np.float32)}, "wanted all above 0"),
    ]:
        arrays = {name: a for name, a in (good | change).items() if a is not None}
        with pytest.raises(BadModel, match=message):
            likeness_net.load_likeness_net(arrays)


def test_the_view_arrays_can_be_dropped(network):
    arrays = likeness_net.export_arrays(network)
    plain = likeness_net.drop_view_arrays(arrays)
    assert set(arrays) - set(plain) == {"view.weight", "view.bias"}
    assert likeness_net.load_likeness_net(plain).view is None


def test_the_last_maps_are_the_features_of_imagenet(network, pictures):
    backbone = registry.load_backbone(registry.EFFICIENTNET_LITE0)
    with torch.inference_mode():
        wanted, maps = backbone(pictures), network.trunk(pictures)
        found = network.describe(pictures)[:, LITE0_LAYOUT.columns("picture")]
    assert torch.allclose(found, wanted, atol=1e-4)
    sizes = [tuple(m.shape[1:3]) for m in maps]
    assert sizes == list(zip(LITE0_LAYOUT.channels, LITE0_LAYOUT.sides_px, strict=True))


def test_columns_of_the_parts_lie_side_by_side():
    slices = [LITE0_LAYOUT.columns(part) for part in LITE0_LAYOUT.shape_widths | COLOUR_WIDTHS]
    assert slices[0].start == 0 and slices[-1].stop == LITE0_LAYOUT.count == 4400
    assert all(a.stop == b.start for a, b in pairwise(slices))
    assert LITE0_LAYOUT.columns("histograms").start == LITE0_LAYOUT.shape_count == 3748


def test_lab_is_that_of_the_arrays():
    rgb = np.random.default_rng(0).integers(0, 256, (1, 17, 23, 3), dtype=np.uint8)
    rgb[0, 0, :3] = [[0, 0, 0], [255, 255, 255], [3, 0, 1]]
    scaled = torch.from_numpy(rgb.transpose(0, 3, 1, 2) / np.float32(255))
    found = item_describer.rgb_to_lab(scaled).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, colour_space.rgb_to_lab(rgb), atol=0.02)


def test_windows_lie_where_the_item_lies(network):
    mask = torch.zeros(1, 1, 28, 28)
    mask[0, 0, 2:18, 14:26] = 1
    windows = network.describer.place_windows(mask)[0]
    assert windows.shape == (5, 28, 28) and torch.equal(windows[0], mask[0, 0])
    assert (windows <= mask[0]).all() and (windows >= 0).all()
    row, column = torch.arange(28.0), torch.arange(28.0)
    upper, lower, middle, flanks = windows[1:]
    # The middle row of the item is 9.5, its middle column 19.5.
    assert (upper.sum(1) * row).sum() / upper.sum() < 7
    assert (lower.sum(1) * row).sum() / lower.sum() > 12
    from_middle = [(w.sum(0) * (column - 19.5).abs()).sum() / w.sum() for w in (middle, flanks)]
    assert from_middle[0] < 3 < 4 < from_middle[1]


def test_colours_are_of_what_the_mask_covers(network):
    mask = torch.zeros(1, 1, 28, 28)
    mask[0, 0, 8:20, 8:20] = 1
    windows = network.describer.place_windows(mask)
    picture = torch.full((1, 3, 224, 224), 0.9)
    picture[:, :, 56:168, 56:168] = torch.tensor([0.6, -0.8, -0.6])[:, None, None]
    on_dark = torch.where(picture == 0.9, -0.7, picture)
    blue = picture.flip(1)
    with torch.inference_mode():
        red, red_on_dark, other = (
            network.describer.describe_colour(p, windows)[0, : 5 * 128]
            for p in (picture, on_dark, blue)
        )
    # Squares of the roots are shares; of each window they sum to 1.
    assert torch.allclose((red**2).reshape(5, 128).sum(1), torch.ones(5), atol=1e-3)
    assert (red - red_on_dark).norm() < 0.5 * (red - other).norm()


def test_an_empty_mask_gives_finite_numbers(network, pictures):
    maps = network.trunk(pictures)
    windows = network.describer.place_windows(torch.zeros(2, 1, 28, 28))
    shape = network.describer.describe_shape(maps, windows)
    colours = network.describer.describe_colour(pictures, windows)
    assert torch.isfinite(shape).all() and torch.isfinite(colours).all()
