import pytest
import torch
from torch.nn import functional as F

from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams import Augmentation, ImageStream
from adaptive_bench.streams.images import Normalisation, augment

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def pixels(count: int = 12, height: int = 6, width: int = 7) -> torch.Tensor:
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_augmentation_equals_one_image_at_a_time():
    images = pixels()
    draws = torch.stack(
        [torch.randint(0, high, (12,), generator=torch.Generator().manual_seed(high)) for high in (5, 6, 2)], dim=1
    )
    draws[:, :2].clamp_(max=4)
    for image, (row, column, flip), got in zip(images, draws.tolist(), augment(images, draws, crop=2), strict=True):
        flipped = image.flip(1) if flip else image
        padded = F.pad(flipped, (0, 0, 2, 2, 2, 2))
        assert torch.equal(got, padded[row : row + 6, column : column + 7])


def test_normalisation_is_per_channel():
    images = pixels()
    got = Normalisation((6, 7, 3), mean=MEAN, std=STD, device=torch.device("cpu"))(images)
    expected = (images.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    torch.testing.assert_close(got, expected)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_without_augmentation_the_pixels_stay():
    images = pixels()
    stream = ImageStream(images, torch.arange(12), seed=0, mean=[0.0] * 3, std=[1.0] * 3)
    batch = stream.take(BatchShape(12))
    torch.testing.assert_close(batch.inputs * 255, images[batch.targets].permute(0, 3, 1, 2).float())


def test_crops_and_flips_take_all_their_values_equally_often():
    images = torch.arange(9, dtype=torch.uint8).view(1, 3, 3, 1).expand(3000, 3, 3, 1)
    stream = ImageStream(
        images, torch.arange(3000), seed=0, mean=[0.0], std=[1 / 255], augmentation=Augmentation(crop=1, flip=True)
    )
    seen = stream.take(BatchShape(3000)).inputs.flatten(1)
    kinds, counts = seen.unique(dim=0, return_counts=True)
    assert len(kinds) == 9 * 2
    assert counts.min() > 110  # 3000 / 18 = 167 expected, standard deviation 13
    assert counts.max() < 224


@pytest.mark.parametrize(
    ("mean", "std", "says"),
    [([0.5], [0.5] * 3, "each of the 3 channels"), ([0.5] * 3, [0.5, 0.0, 0.5], "above 0")],
)
def test_a_wrong_normalisation_is_refused(mean, std, says):
    with pytest.raises(ValueError, match=says):
        Normalisation((6, 7, 3), mean=mean, std=std, device=torch.device("cpu"))


def test_a_negative_crop_is_refused():
    with pytest.raises(ValueError, match="crop=-1"):
        Augmentation(crop=-1)
