"""The whole router over Redis Cluster and over Sentinel, as store and as queue, while slots move, nodes fail over and masters die."""

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import redis
from redis.crc import key_slot

from bench.ports import free_port
from tests import servers
from tests.integration.crowd import MOBILIS, PATIENT, Crowd
from tests.servers import CLUSTER_BUS, HOST, Cluster, SentinelGroup, Server, wait_until
from tests.stack import Stack, wait_for

QUEUE_KEY = b"queue:{q}:"


def cluster_url(nodes: Cluster) -> str:
    return "redis+cluster://" + ",".join(f"{HOST}:{server.port}" for server in nodes.servers[:2])


def sentinel_url(group: SentinelGroup) -> str:
    return f"redis+sentinel://{','.join(f'{HOST}:{port}' for port in group.sentinel_ports)}/{group.master_name}/0"


@contextlib.contextmanager
def router(url: str, data: Path) -> Iterator[Stack]:
    stack = Stack(url, data, PATIENT)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@contextlib.contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """`work` goes on in a thread; its failure is the test's."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(120)

    assert failures == []
    assert not thread.is_alive()


def test_cluster(tmp_path: Path) -> None:
    """Codes are accepted, sent once, verified, cancelled and refunded, while nodes forget scripts and slots move under them."""
    with servers.cluster() as nodes, router(cluster_url(nodes), tmp_path / "data") as stack:
        crowd = Crowd(stack)
        with crowd.at_work():
            crowd.submit(0, 10)
            for server in nodes.servers:
                with server.client() as client:
                    client.script_flush()
            crowd.submit(10, 10)
            moved = [QUEUE_KEY, f"acct:{{{crowd.account['id']}}}".encode(), f"online:{MOBILIS}".encode(), b"timers:{0}"]
            with beside(lambda: crowd.submit(20, 30)):
                for key in moved:
                    nodes.move_slot(key_slot(key))
            crowd.submit(50, 5)
            crowd.wait_until_all_are_sent()
        key = {"Authorization": f"Bearer {crowd.account['key']}"}
        code = re.search(r"\d{6}", crowd.texts[crowd.accepted[0]])
        assert code is not None
        verified = stack.http.post(
            "/api/v1/verify-otp", json={"reference_id": crowd.accepted[0], "code": code.group()}, headers=key
        )  # fmt: skip
        waiting = stack.http.post("/api/v1/send-otp", json={"phone": "+213771000001"}, headers=key).json()["reference_id"]
        charged = crowd.balance()
        stack.operator("POST", f"/messages/{waiting}/cancel")
        wait_for(lambda: stack.trace(waiting)["settled"], "the refund")

        assert 200 == verified.status_code
        assert Counter(crowd.accepted) == crowd.sent
        assert 10_000 - 5 * 56 == charged
        assert 10_000 - 5 * 55 == crowd.balance()
        assert {"verified", "sent"} == {stack.state(message_id) for message_id in crowd.accepted}
        assert all(len(stack.trace(message_id)["attempts"]) == 1 for message_id in crowd.accepted)


def test_cluster_fails_over(tmp_path: Path) -> None:
    """Each primary hands over to its replica (CLUSTER FAILOVER, which waits for it) while codes are submitted: all are sent once."""
    with servers.cluster() as nodes, replicas(nodes) as followers, router(cluster_url(nodes), tmp_path / "data") as stack:
        crowd = Crowd(stack)
        with crowd.at_work():
            with beside(lambda: crowd.submit(0, 60)):
                for follower in followers:
                    with follower.client() as client:
                        client.execute_command("CLUSTER FAILOVER")
                    wait_until(lambda f=follower: is_master(f), "the replica has taken over")  # type: ignore[misc]
            crowd.submit(60, 5)
            crowd.wait_until_all_are_sent()

        assert 65 == len(set(crowd.accepted))
        assert Counter(crowd.accepted) == crowd.sent
        assert 10_000 - 5 * 65 == crowd.balance()


def test_cluster_primary_dies(tmp_path: Path) -> None:
    """kill -9 of the node that has the queue: accepting and sending go on by themselves with its replica."""
    with servers.cluster() as nodes, replicas(nodes) as followers, router(cluster_url(nodes), tmp_path / "data") as stack:
        crowd = Crowd(stack)
        with crowd.at_work():
            crowd.submit(0, 10)
            crowd.wait_until_all_are_sent()
            gone = next(server for server in nodes.servers if nodes._owns(server, key_slot(QUEUE_KEY)))
            for server in (*nodes.servers, *followers):
                with server.client() as client:
                    client.config_set("cluster-node-timeout", 2000)
            gone.kill()
            wait_until(lambda: any(is_master(follower) for follower in followers), "its replica has taken over", 60)
            before = len(crowd.accepted)
            crowd.submit(100, 20)
            after = crowd.accepted[before:]
            wait_for(lambda: set(after) <= set(crowd.sent), "what was accepted afterwards to be sent", 60)

        assert {1} == {crowd.sent[message_id] for message_id in crowd.accepted}


@contextlib.contextmanager
def replicas(nodes: Cluster) -> Iterator[list[Server]]:
    """One for each node of the cluster, in step with it."""
    with contextlib.ExitStack() as running, servers.folder() as folder:
        followers: list[Server] = []
        for number, primary in enumerate(nodes.servers):
            config = {"cluster_enabled": "yes", "cluster_node_timeout": "20000"}
            server = running.enter_context(Server(folder / f"replica-{number}", port=free_port(CLUSTER_BUS), **config))
            with server.client() as client, primary.client() as other:
                client.execute_command("CLUSTER MEET", HOST, primary.port)
                name = str(servers._text(other.execute_command("CLUSTER MYID")))
                wait_until(lambda c=client, n=name: follows(c, n), "the nodes have met")  # type: ignore[misc]
            followers.append(server)
        for server in followers:
            wait_until(lambda s=server: SentinelGroup._in_sync(s), "the replica is in step")  # type: ignore[misc]
        wait_until(lambda: all(knows_all(server, 6) for server in (*followers, *nodes.servers)), "all nodes know each other")
        yield followers


def follows(client: redis.Redis, master: str) -> bool:
    try:
        client.execute_command("CLUSTER REPLICATE", master)
    except redis.ResponseError:
        return False
    return True


def knows_all(server: Server, count: int) -> bool:
    with server.client() as client:
        info = servers._text(client.execute_command("CLUSTER INFO")).replace("'", "").replace(" ", "")
        return f"cluster_known_nodes:{count}" in info and "cluster_state:ok" in info


def is_master(server: Server) -> bool:
    with server.client() as client:
        return bool(client.info("replication")["role"] == "master")


def test_sentinel_switches(tmp_path: Path) -> None:
    """A planned switch to the replica as docs/brokers.md has it, while codes are submitted: all that were accepted are sent once."""
    with servers.sentinel_group() as group, router(sentinel_url(group), tmp_path / "data") as stack:
        crowd = Crowd(stack)
        with crowd.at_work():
            crowd.submit(0, 5)
            with beside(lambda: crowd.submit(5, 60)):
                switch(group)
            crowd.submit(65, 5)
            crowd.wait_until_all_are_sent()

        assert 70 == len(set(crowd.accepted))
        assert Counter(crowd.accepted) == crowd.sent
        assert 10_000 - 5 * 70 == crowd.balance()


def switch(group: SentinelGroup) -> None:
    """Holds writes, waits for the replica, promotes it, and sends the clients of the old master away."""
    old = next(server for server in group.servers if server.port == group.master_port())
    new = next(server for server in group.servers if server is not old)
    with old.client() as master, new.client() as replica:
        master.execute_command("CLIENT PAUSE", 30000, "WRITE")
        offset = master.info("replication")["master_repl_offset"]
        wait_until(lambda: replica.info("replication")["slave_repl_offset"] >= offset, "the replica has all")
        with redis.Redis(host=HOST, port=group.sentinel_ports[0], protocol=2) as sentinel:
            sentinel.execute_command("SENTINEL FAILOVER", group.master_name)
        wait_until(lambda: is_master(new) and all(names(port, group) == new.port for port in group.sentinel_ports), "all name the new one")
        master.execute_command("CLIENT KILL TYPE", "normal", "SKIPME", "yes")


def names(sentinel_port: int, group: SentinelGroup) -> int:
    with redis.Redis(host=HOST, port=sentinel_port, protocol=2) as sentinel:
        return int(sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", group.master_name)[1])


def test_sentinel_master_dies(tmp_path: Path) -> None:
    """kill -9: the router goes on by itself with the replica. What was accepted last may be lost, for replication is asynchronous."""
    with servers.sentinel_group() as group, router(sentinel_url(group), tmp_path / "data") as stack:
        crowd = Crowd(stack)
        with crowd.at_work():
            crowd.submit(0, 10)
            crowd.wait_until_all_are_sent()
            before = list(crowd.accepted)
            with beside(lambda: crowd.submit_until_refused(10)):
                group.fail_over()
            meanwhile = len(crowd.accepted)
            crowd.submit(5000, 20)
            after = crowd.accepted[meanwhile:]
            wait_for(lambda: set(after) <= set(crowd.sent), "what was accepted afterwards to be sent", 60)

        assert meanwhile > 10
        assert 20 == len(set(after))
        assert {1} == {crowd.sent[message_id] for message_id in (*before, *after)}


def test_sentinel_replaces_a_master_that_is_well(tmp_path: Path) -> None:
    """Told by nobody, the router finds out, and leaves it before Sentinel makes it a replica: what it takes in between is lost."""
    with servers.sentinel_group() as group, router(sentinel_url(group), tmp_path / "data") as stack:
        crowd = Crowd(stack)
        with crowd.at_work():
            crowd.submit(0, 10)
            crowd.wait_until_all_are_sent()
            old = next(server for server in group.servers if server.port == group.master_port())
            with redis.Redis(host=HOST, port=group.sentinel_ports[0], protocol=2) as sentinel:
                sentinel.execute_command("SENTINEL FAILOVER", group.master_name)
            wait_until(lambda: all(names(port, group) != old.port for port in group.sentinel_ports), "the sentinels name the replica")
            wait_until(lambda: not writers(old), "the store's connections have left")
            still_master = is_master(old)
            before = len(crowd.accepted)
            crowd.submit(100, 20)
            after = crowd.accepted[before:]
            wait_for(lambda: set(after) <= set(crowd.sent), "what was accepted afterwards to be sent", 60)

        assert still_master
        assert {1} == {crowd.sent[message_id] for message_id in after}


def writers(server: Server) -> list[str]:
    """The connections of stores and publishers that a server has."""
    with server.client() as client:
        found = client.client_list(_type="normal")
        mine = client.client_id()
    return [one["name"] for one in found if int(one["id"]) != mine and not one["name"].startswith(("sentinel-", "seedrouter-queue"))]
