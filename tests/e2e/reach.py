"""Asks from one address who lets it in: `reach.py SOURCE KIND:HOST:PORT ...`, with tcp, udp or ping as kind, all at once.

Prints one JSON object: `open` for an answer, `refused` when the machine was reached and nobody listens there, `silent` when
nothing came back.
"""
import json
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

SECONDS = 4


def ask(source, target):
    kind, host, port = target.split(":")
    if kind == "ping":
        command = ["ping", "-I", source, "-c", "1", "-W", str(SECONDS), host]
        return "open" if subprocess.run(command, capture_output=True, check=False).returncode == 0 else "silent"
    types = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
    with socket.socket(socket.AF_INET, types[kind]) as asking:
        asking.settimeout(SECONDS)
        asking.bind((source, 0))
        try:
            asking.connect((host, int(port)))
            if kind == "udp":
                # Without a server the answer is ICMP's, when the datagram was let in.
                asking.send(b"?")
                asking.recv(16)
            return "open"
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "silent"


source, *targets = sys.argv[1:]
with ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(dict(zip(targets, pool.map(lambda target: ask(source, target), targets)))))
