import pytest

from router.domain.device import NO_SIMS, Device, Sim, device_of_seed, seed_of_sim, sim_of_seed

ID = "V1StGXR8_Z5jdHi6B-myT"


def a_device(*sims: Sim) -> Device:
    return Device(id=ID, account="ac_1", name="phone", shared=True, token_hash="", sims=sims, created_at=0, updated_at=0, last_seen=0)


def test_each_sim_is_a_seed() -> None:
    assert (f"{ID}.1", f"{ID}.3") == a_device(Sim(1), Sim(3)).seed_ids
    assert (f"{ID}.0",) == a_device(Sim(NO_SIMS)).seed_ids


@pytest.mark.parametrize("number", [0, 1, 3])
def test_and_back(number: int) -> None:
    seed = seed_of_sim(ID, number)

    assert (ID, number) == (device_of_seed(seed), sim_of_seed(seed))


@pytest.mark.parametrize("seed", ["603010000000001", f"{ID}.4", f"{ID}.", ID, f"{ID}.1.1", f"x{ID}.1", "phone.1", ""])
def test_other_seeds(seed: str) -> None:
    """A seed of another protocol has no device, even if its name has a dot."""
    assert ("", NO_SIMS) == (device_of_seed(seed), sim_of_seed(seed))
