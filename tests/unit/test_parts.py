import pytest

from starter.local.parts import Part, is_real, real_settings

OUTSIDE = {
    "ANTHROPIC_API_KEY": "sk",
    "AWS_PROFILE": "mine",
    "AWS_REGION": "eu-west-1",
    "E2B_API_KEY": "",
    "PROJECT_SNAPSHOT_BUCKET": "snapshots",
    "TEMPORAL_NAMESPACE": "builds",
    "UNRELATED": "x",
}


@pytest.mark.parametrize(("part", "real"), [(Part.MODEL, True), (Part.S3, True), (Part.REDIS, False)])
def test_a_part_is_real_when_its_setting_is_there(*, part: Part, real: bool):
    """Each outside service is replaced on its own by its own setting."""
    assert real == is_real(part, OUTSIDE)


def test_an_empty_setting_is_none():
    """An empty line in `.env` does not turn a stand-in off."""
    assert not is_real(Part.SANDBOX, OUTSIDE)


def test_a_namespace_alone_names_no_server():
    """Only what leads to a server makes Temporal real."""
    assert not is_real(Part.TEMPORAL, OUTSIDE)


def test_credentials_of_the_machine_alone_are_no_bucket():
    """Keys that the person has for other work do not send snapshots to a cloud."""
    assert not is_real(Part.S3, {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_REGION": "eu-west-1"})


def test_everything_of_a_real_part_is_handed_on():
    """All that goes with a real service is passed on as the person gave it, and nothing else."""
    expected = {"AWS_PROFILE": "mine", "AWS_REGION": "eu-west-1", "PROJECT_SNAPSHOT_BUCKET": "snapshots"}

    assert expected == real_settings(Part.S3, OUTSIDE)
