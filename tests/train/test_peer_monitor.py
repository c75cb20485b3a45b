"""A process that goes without a goodbye is noticed at once, by all and once."""

import queue
import socket

import pytest

from lars_jax.train.peer_monitor import Client, Server

SECONDS = 10


@pytest.fixture
def three():
    """Return the ends of three processes, and a queue of what each was told."""
    told = [queue.Queue() for _ in range(3)]

    def tell(place):
        return lambda words, failed: told[place].put((words, failed))

    server = Server(2, tell(0))
    clients = [Client(("127.0.0.1", server.port), i, tell(i)) for i in (1, 2)]
    # Connected means queued; a server that has not yet accepted one cannot tell it.
    while len(server._connections) < 2:
        pass
    yield server, clients, told
    server.close("bye")
    for client in clients:
        client.close("bye")


def kill(end):
    """Close a socket as the kernel does for a process that dies."""
    end._connection.shutdown(socket.SHUT_RDWR)


def test_killed_process_is_named_to_all_others(three):
    _, clients, told = three
    kill(clients[1])
    for place in (0, 1):
        words, failed = told[place].get(timeout=SECONDS)
        assert words.startswith("process 2 was lost")
        assert not failed


def test_error_of_a_process_is_told_as_one(three):
    _, clients, told = three
    clients[0].close("failed")
    for place in (0, 2):
        words, failed = told[place].get(timeout=SECONDS)
        assert words == "process 1 ended with an error of its own"
        assert failed


def test_loss_of_the_first_process_is_noticed_by_the_others(three):
    server, _, told = three
    # The threads of a dead process do nothing any more.
    server._noticed.acquire()
    for connection in server._connections:
        connection.shutdown(socket.SHUT_RDWR)
    for place in (1, 2):
        words, failed = told[place].get(timeout=SECONDS)
        assert words.startswith("process 0 was lost")
        assert not failed


def test_process_that_says_goodbye_is_not_missed(three):
    server, clients, told = three
    clients[0].close("bye")
    kill(clients[1])
    words, _ = told[0].get(timeout=SECONDS)
    assert words.startswith("process 2")
    # Still there until all have come as far, it hears of the loss as well.
    words, _ = told[1].get(timeout=SECONDS)
    assert words.startswith("process 2")


def test_process_that_has_said_goodbye_hears_of_no_loss_but_a_real_one(three):
    server, clients, told = three
    for client in clients:
        client.close("bye")
    with pytest.raises(queue.Empty):
        told[1].get(timeout=0.3)
    server.close("bye")
    with pytest.raises(queue.Empty):
        told[1].get(timeout=0.3)
    assert told[0].empty()
    assert told[2].empty()


def test_goodbye_to_one_that_has_said_it_before_still_arrives(three):
    server, clients, told = three
    for connection in server._connections:
        connection.sendall(b"bye\n")
    with pytest.raises(queue.Empty):
        told[1].get(timeout=0.3)
    clients[0].close("bye")
    clients[1].close("bye")
    with pytest.raises(queue.Empty):
        told[0].get(timeout=0.3)


def test_only_the_first_loss_is_told(three):
    _, clients, told = three
    kill(clients[0])
    told[0].get(timeout=SECONDS)
    # Told of it, the other one goes too; that is no news to the first.
    told[2].get(timeout=SECONDS)
    with pytest.raises(queue.Empty):
        told[0].get(timeout=0.3)


def test_server_that_is_not_there_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        Client(("127.0.0.1", port), 1, lambda words, failed: None)
