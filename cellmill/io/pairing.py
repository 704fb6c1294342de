"""Which truth belongs to which image, by their paths.

Compared are the folders below what was asked for (`p1` of `plate/*/images`, whatever the role
words in them) and the names of the files: first as they are, then without suffix, then without the
words that people mark truths and images with, last by what the wildcards of two globs stand for
(`cellmill.io.compared`, `cellmill.io.role_words`). Accents count the same however they are
written, and so does case where nothing else tells two files apart. What is not certain is refused,
naming the candidates.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cellmill.errors import BadInput
from cellmill.io.compared import (
    FOLDER_CUTS,
    LEVELS,
    ComparedFile,
    Level,
    folded,
    rule_of,
    shortened,
)
from cellmill.io.listing import Listed
from cellmill.io.role_words import is_marked, of_both, of_both_and_objects, of_image

#: What is said of a pair that nothing but its being alone made.
ONLY = "the only image and the only truth"


@dataclass(frozen=True)
class Pair:
    """The truth of an image, and why it is that.

    Attributes:
        truth: its URI.
        rule: what of the two paths is alike.
    """

    truth: str
    rule: str


@dataclass(frozen=True)
class Pairing:
    """What of two lists of files is an image, and which truth each image has.

    Attributes:
        images: the images, in the order of their list; truths that stood there too are left out.
        pairs: by the URI of an image.
        unused: truths of no image.
        told_apart: how many files stood in both lists and are truths.
    """

    images: tuple[Listed, ...]
    pairs: Mapping[str, Pair] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    told_apart: int = 0


def pair(images: Sequence[Listed], truths: Sequence[Listed]) -> Pairing:
    """Find the truth of each image.

    Args:
        images: files that may be images.
        truths: files that may be truths; those that are images too are told apart by their names.

    Returns:
        The images, and the truth of each that has one.

    Raises:
        BadInput: a file could be either, a truth could be of several images or an image have
            several truths; or no truth belongs to any image.
    """
    told = _told_apart([ComparedFile(f) for f in images], [ComparedFile(f) for f in truths])
    if not told.truths:
        return Pairing(tuple(f.listed for f in told.images), told_apart=told.count)
    if len(told.images) == len(told.truths) == 1 and not told.count:
        (image,), (truth,) = told.images, told.truths
        paired = _Paired([image], [truth])
        paired.match_all(refuse=False)
        rule = paired.pairs[image].rule if image in paired.pairs else ONLY
        return Pairing((image.listed,), {image.uri: Pair(truth.uri, rule)})
    paired = _Paired(told.images, told.truths)
    paired.match_all()
    unused = [f.uri for f in told.truths if f not in paired.taken]
    if not paired.pairs:
        raise BadInput(
            f"truth '{unused[0]}'",
            expected=f"the name of an image ('{told.images[0].uri}', …)"
            if told.images
            else "an image beside it",
            found="none of the truths has one" if len(unused) > 1 else "another",
        )
    return Pairing(
        tuple(f.listed for f in told.images),
        {f.uri: paired.pairs[f] for f in told.images if f in paired.pairs},
        tuple(unused),
        told.count,
    )


def looks_like_truth_of(images: Sequence[Listed]) -> Iterator[tuple[Listed, Listed]]:
    """Yield the images that are named like the truth of another one, and that other."""
    files = [ComparedFile(image) for image in images]
    plain = {key: file for file in files if not _is_marked(file) for key in _keys(file, False)}
    for file in files:
        if _is_marked(file):
            others = [plain[key] for key in _keys(file, True) if key in plain]
            if others:
                yield file.listed, others[0].listed


class _Paired:
    """Pairs as they are found, level by level."""

    def __init__(self, images: Sequence[ComparedFile], truths: Sequence[ComparedFile]) -> None:
        self.images = images
        self.truths = truths
        self.pairs: dict[ComparedFile, Pair] = {}
        #: The image of each truth that has one.
        self.taken: dict[ComparedFile, ComparedFile] = {}

    def match_all(self, refuse: bool = True) -> None:
        """Go through all levels, for files in the same folder first, then for others."""
        ranks = [*range(len(FOLDER_CUTS))]
        if not (any(f.folders[1] for f in self.images) and any(f.folders[1] for f in self.truths)):
            # One of the lists says nothing of folders: names are all there is.
            ranks.append(len(ranks))
        for rank, level in itertools.product(ranks, LEVELS):
            if len(self.taken) < len(self.truths):
                self._match(level, rank, refuse)

    def _match(self, level: Level, rank: int, refuse: bool) -> None:
        groups: dict[tuple[tuple[str, ...], str], tuple[list[ComparedFile], list[ComparedFile]]]
        groups = defaultdict(lambda: ([], []))
        for place, files in enumerate((self.images, self.truths)):
            find = (level.of_image, level.of_truth)[place]
            for file in files:
                key = find(file)
                if key is not None:
                    folders = file.folders[rank] if rank < len(FOLDER_CUTS) else ()
                    groups[folders, folded(key)][place].append(file)
        for images, truths in groups.values():
            left = [truth for truth in truths if truth not in self.taken]
            if images and left:
                self._match_group(level, images, left, refuse)

    def _match_group(
        self,
        level: Level,
        images: Sequence[ComparedFile],
        truths: Sequence[ComparedFile],
        refuse: bool,
    ) -> None:
        """Pair files whose names are alike at a level, by their folders and their spelling."""
        near = {truth: _nearest(level, images, truth) for truth in truths}
        claims: dict[ComparedFile, list[ComparedFile]] = defaultdict(list)
        for truth, (_, candidates) in near.items():
            if len(candidates) > 1 and refuse:
                raise BadInput(
                    f"truth '{truth.uri}'",
                    expected="one image that it belongs to",
                    found=_named([image.uri for image in candidates]),
                )
            if len(candidates) == 1:
                claims[candidates[0]].append(truth)
        for image, claimants in claims.items():
            best = max(near[truth][0] for truth in claimants)
            first = [truth for truth in claimants if near[truth][0] == best]
            held = self.pairs.get(image)
            if held is not None and best[:-1] < self._nearness_held(image)[:-1]:
                continue
            if held is None and len(first) == 1:
                self.pairs[image] = Pair(first[0].uri, rule_of(level, image, first[0]))
                self.taken[first[0]] = image
            elif refuse:
                also = [held.truth] if held is not None else []
                raise BadInput(
                    f"image '{image.uri}'",
                    expected="one truth",
                    found=_named([*also, *(truth.uri for truth in first)]),
                )

    def _nearness_held(self, image: ComparedFile) -> tuple[int, ...]:
        (truth,) = (t for t, i in self.taken.items() if i is image)
        return _nearness(None, image, truth)


def _nearest(
    level: Level, images: Sequence[ComparedFile], truth: ComparedFile
) -> tuple[tuple[int, ...], list[ComparedFile]]:
    """Return how near the nearest image is to a truth, and the images that are so near."""
    values = [_nearness(level, image, truth) for image in images]
    best = max(values)
    return best, [image for image, value in zip(images, values, strict=True) if value == best]


def _nearness(level: Level | None, image: ComparedFile, truth: ComparedFile) -> tuple[int, ...]:
    """Say how near two files lie whose names are alike.

    Folders that are the same count most, then those that are but for role words; then how many
    folders from the root on they share; last a name that is spelled the same.
    """
    pairs = zip(image.folders, truth.folders, strict=True)
    alike = next((-rank for rank, (one, other) in enumerate(pairs) if one == other), -9)
    spelled = 0
    if level is not None:
        keys = level.of_image(image) or "", level.of_truth(truth) or ""
        composed = [unicodedata.normalize("NFC", key) for key in keys]
        spelled = (composed[0] == composed[1]) + (keys[0] == keys[1])
    return (alike, *_shared(image.all_folders, truth.all_folders), spelled)


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[int, int]:
    """Whether two paths are the same, and how many of their first folders are."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return int(one == other), count


def _named(uris: Sequence[str]) -> str:
    listed = " and ".join(f"'{uri}'" for uri in uris[:2])
    return f"{len(uris)}: {listed}{', …' if len(uris) > 2 else ''}"


@dataclass(frozen=True)
class _Told:
    """Two lists in which no file stands twice; how many stood in both and are truths."""

    images: Sequence[ComparedFile]
    truths: Sequence[ComparedFile]
    count: int


def _told_apart(images: Sequence[ComparedFile], truths: Sequence[ComparedFile]) -> _Told:
    """Say of the files in both lists which are images and which are truths.

    A file is a truth if its name or a folder is marked as one and without the mark is that of
    another, unmarked, which is an image. Where such pairs are, what is marked without an image is
    a truth, too, and what is not an image. Where none is, the narrower list says what its files
    are.
    """
    of_images, of_truths = ({f.listed.identity for f in files} for files in (images, truths))
    both = of_images & of_truths
    if not both:
        return _Told(images, truths, 0)
    marked = {f.listed.identity for f in (*images, *truths) if _is_marked(f)}
    plain_keys = {key for f in images if f.listed.identity not in marked for key in _keys(f, False)}
    marked_keys = {key for f in truths if f.listed.identity in marked for key in _keys(f, True)}
    roles = {}
    for file in images:
        identity = file.listed.identity
        is_mark = identity in marked
        if identity in both and _keys(file, is_mark) & (plain_keys if is_mark else marked_keys):
            roles[identity] = is_mark
    shown = bool(roles)
    for file in images:
        identity = file.listed.identity
        if identity not in both or identity in roles:
            continue
        if shown:
            roles[identity] = identity in marked
        elif both == of_truths != of_images or both == of_images != of_truths:
            roles[identity] = both == of_truths
        else:
            raise BadInput(
                f"file '{file.uri}'",
                expected="an image or a truth, as a name like x.tif and x_masks.tif says",
                found="a file that was given as both",
            )
    return _Told(
        [f for f in images if not roles.get(f.listed.identity, False)],
        [f for f in truths if roles.get(f.listed.identity, True)],
        sum(roles.values()),
    )


def _is_marked(file: ComparedFile) -> bool:
    return is_marked(file.stem) or any(is_marked(folder) for folder in file.listed.folders)


def _keys(file: ComparedFile, marked: bool) -> set[tuple[tuple[str, ...], str]]:
    """What the image and the truth of a pair have in common, each without its marks."""
    words = (of_both, of_both_and_objects) if marked else (of_image,)
    names = {shortened(cut)(file) or "" for cut in words}
    return {(file.folders[1], folded(name)) for name in names}
