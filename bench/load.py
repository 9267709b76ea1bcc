"""What bench/chaos stands on: a universe of processes, and clients that know what was acknowledged."""
import collections, http.client, json, os, pathlib, random, re, socket, subprocess, sys, threading, time

root = pathlib.Path(__file__).resolve().parent.parent
home = pathlib.Path(os.environ.get("CHAOS_HOME", "/nowhere"))
UP_SECONDS_MAX, JOB_SECONDS_MAX, ASK_SECONDS_MAX = 40, 60, 5
score = {True: 0, False: 0}


class Skip(Exception):
    pass


def sh(*command, check=True, cwd=None, seconds=120):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=seconds)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def note(name, value, must="", good=None):
    """One line of the report."""
    if good is not None:
        score[bool(good)] += 1
    print(f"{name:<66} {value:<34} {must:<24} {'ok' if good else 'MISSED' if good is False else ''}".rstrip(), flush=True)


def none(name, what):
    """What must not be at all; says the first few."""
    note(name, str(len(what)), "0", not what)
    for each in list(what)[:5]:
        print(f"    {each}", flush=True)


def quantiles(values):
    v = sorted(values) or [float("nan")]
    return v[len(v) // 2], v[min(len(v) - 1, int(len(v) * 0.99))]


class Cloud:
    universe = property(lambda self: home / "dream/universes/blackhole")

    def __init__(self, elders=1, copies="substrate=2,monkey=2"):
        self.flags = ["--processes", "--elders", str(elders), "--copies", copies]
        self.start()

    def start(self):
        sh("dream", "new", "multiverse", "--daemon", *self.flags)
        self.flags = []
        self.api = json.loads((home / "dream/api.json").read_text())

    def stop(self):
        self.keep()
        sh("dream", "kill", "all")

    def keep(self):
        """The journal stays for whoever asks why."""
        (root / f"out/chaos-{sys.argv[2]}.log").write_text(sh("dream", "logs", "-n", "20000", check=False))

    def ask(self, subject, seconds=ASK_SECONDS_MAX, **fields):
        """(status, answer) of one message through the control API; an OSError when nothing is known."""
        connection = http.client.HTTPConnection(self.api["address"], timeout=seconds)
        try:
            connection.request("POST", f"/v1/universes/blackhole/ask/{subject}", json.dumps(fields), {"Authorization": "Bearer " + self.api["token"]})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        except (http.client.HTTPException, ValueError) as e:
            raise OSError(str(e))
        finally:
            connection.close()

    def sure(self, subject, **fields):
        """The same until it is answered."""
        until = time.monotonic() + UP_SECONDS_MAX
        while True:
            try:
                status, answer = self.ask(subject, **fields)
                if status < 500 and status != 429:
                    return status, answer
            except OSError as e:
                answer = e
            if time.monotonic() > until:
                raise RuntimeError(f"{subject} is not answered: {answer}")
            time.sleep(0.1)

    def nodes(self):
        return {n["name"]: n for n in json.loads(sh("dream", "status", "universe", "--json"))["nodes"]}

    def wait_up(self, seconds=UP_SECONDS_MAX):
        """Seconds until every node is up with its server."""
        started = time.monotonic()
        while True:
            nodes = self.nodes()
            bad = [n["name"] for n in nodes.values() if n["state"] != "up" or (n["name"].startswith("elder") and not n.get("server_pid"))]
            if not bad:
                return time.monotonic() - started
            if time.monotonic() - started > seconds:
                raise RuntimeError(f"not up after {seconds} s: {' '.join(bad)}")
            time.sleep(0.02)

    def server_of(self, pid):
        """The elder that a process is connected to."""
        ports = re.findall(rf"127.0.0.1:1406([123])\s+users:.*pid={pid},", sh("ss", "-tnpH", "state", "established"))
        return ["elder", "elder-2", "elder-3"][int(ports[0]) - 1] if ports else ""

    def leaders(self):
        """(time, stream, leader) as the elders tell of themselves, one for each change."""
        told, changes = {}, []
        for line in sorted(sh("dream", "logs", "-n", 20000).splitlines()):
            found = re.search(r"^time=(\S+) .*event=leader stream=(\w+) leader=(\S+) .*node=\3@", line)
            if found and (leader := found.group(3)) and told.get(found.group(2)) != leader:
                told[found.group(2)] = leader
                changes.append((found.group(1), found.group(2), leader))
        return changes

    def project(self, name, revisions=1):
        """A project with one C function, pushed so many times: its folder, id and host."""
        folder = home / name
        sh("tau", "login")
        sh("tau", "new", "project", name, "--yes", cwd=home)
        sh("tau", "new", "function", "ping", "--template", "ping_pong", "--lang", "c", "--domain", "GeneratedDomain", "--path", "/ping", "--yes", cwd=folder)
        source = next((folder / "code/functions/ping").glob("*.c"))
        for i in range(revisions):
            source.write_text(re.sub(r'"[A-Z0-9]*", \d+', f'"PONG{i:04}", 8', source.read_text(), count=1))
            sh("tau", "push", "-m", f"revision {i}", cwd=folder)
        ident = next(p["id"] for p in self.sure("auth.project.list", owner="chaos")[1]["projects"] if p["name"] == name)
        fqdn = re.search(r"^fqdn: (.*)$", (folder / "config/domains/GeneratedDomain.yaml").read_text(), re.M).group(1)
        return folder, ident, fqdn


class Load:
    """Clients with unique writes: what was sent, acknowledged and when; what nobody knows is never counted as lost."""

    def __init__(self, cloud, writers=4, pushes=True, pause=0.02):
        self.cloud, self.pause = cloud, pause
        self.tokens, self.commits, self.publications, self.gets = [], [], collections.defaultdict(set), collections.defaultdict(list)
        self.unknown, self.unknowns = 0, []
        self.wrong_reads, self.cut_at, self.windows, self.threads = [], float("inf"), [], []
        self.folder, self.project, self.fqdn = cloud.project("hello") if pushes else (None, None, None)
        self.register = cloud.project("register", 4)[1] if pushes else None
        self.possible = {4}
        self.jobs_wanted = [self.write] * writers + ([self.push, self.turn, self.watch, lambda: self.get("gateway", 8080), lambda: self.get("substrate-2", 14530)] if pushes else [])

    def start(self):
        self.stopping, self.began = threading.Event(), time.monotonic()
        self.threads = [threading.Thread(target=job, daemon=True) for job in self.jobs_wanted]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def acked(self, where, what):
        now = time.monotonic()
        if now < self.cut_at:
            where.append((now, what))

    def write(self):
        while not self.stopping.wait(self.pause):
            device = f"d{random.getrandbits(64):x}"
            try:
                status, answer = self.cloud.ask("auth.login", account="load", device=device)
                if status == 200:
                    self.acked(self.tokens, (answer["token"], device))
                    continue
            except OSError:
                pass
            self.unknown += 1
            self.unknowns.append(time.monotonic())

    def turn(self):
        """One register, one writer: the live revision; each read is the last write that was acknowledged or one that may have come after."""
        while not self.stopping.wait(4 * self.pause):
            wanted = random.choice([r for r in (1, 2, 3, 4) if r not in self.possible] or [1])
            try:
                status, answer = self.cloud.ask("tns.list", project=self.register, limit=20)
                live = {r["number"] for r in answer["revisions"] if r["live"]} if status == 200 else None
                if live is not None and not live <= self.possible:
                    self.wrong_reads.append(f"live is {live}, acknowledged {self.possible}")
                status, _ = self.cloud.ask("tns.live.set", project=self.register, revision=wanted)
            except (OSError, KeyError):
                status = 0
            if time.monotonic() < self.cut_at:
                self.possible = {wanted} if status == 200 else self.possible | {wanted}
            else:
                self.possible |= {wanted}

    def push(self):
        source, i = next((self.folder / "code/functions/ping").glob("*.c")), 0
        while not self.stopping.wait(0.4):
            i += 1
            text = f"P{random.getrandbits(32):08X}"
            source.write_text(re.sub(r'"[A-Z0-9]*", \d+', f'"{text}", {len(text)}', source.read_text(), count=1))
            sh("git", "commit", "-qam", f"push {i}", cwd=self.folder / "code")
            try:
                sh("git", "push", "-q", "origin", "HEAD:main", cwd=self.folder / "code", seconds=30)
                self.acked(self.commits, sh("git", "rev-parse", "HEAD", cwd=self.folder / "code").strip())
            except (RuntimeError, subprocess.TimeoutExpired):
                self.unknown += 1

    def watch(self):
        """Which revisions each job has published (the registry keeps the last twenty)."""
        while not self.stopping.wait(1):
            self.look()

    def look(self):
        try:
            for r in self.cloud.ask("tns.list", project=self.project, limit=20)[1].get("revisions", []):
                self.publications[r["job"]].add(r["number"])
        except OSError:
            pass

    def get(self, name, port):
        while not self.stopping.wait(0.01):
            began, said = time.monotonic(), b""
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as s:
                    s.sendall(f"GET /ping HTTP/1.1\r\nHost: {self.fqdn}\r\nConnection: close\r\n\r\n".encode())
                    while part := s.recv(4096):
                        said += part
            except OSError as e:
                said = str(e).encode()
            if not said.startswith(b"HTTP/1.1 200"):
                self.gets[name].append((began, time.monotonic(), said[:60].decode(errors="replace").split("\r")[0]))
            self.gets[name + " all"].append(began)

    def failures(self, name):
        """Failed requests to this door, not counting while that node itself was hit."""
        return [f"{began - self.began:.1f} s after the load's start, {end - began:.2f} s, while {[w[2] for w in self.windows if began <= w[1] and end >= w[0]]} was hit: {said}" for began, end, said in self.gets[name]
                if not any(w[2].startswith(name) and (w[2] == name or w[2].startswith(name + "/")) and began <= w[1] and end >= w[0] for w in self.windows)]

    def gaps(self, moments):
        """From each of these moments: the longest time without an acknowledged write that began within the next 5 s, in ms."""
        times = sorted(t for t, _ in self.tokens)
        result = []
        for m in moments:
            near = [t for t in times if m - 0.2 <= t <= m + 10]
            result.append(max((b - a for a, b in zip(near, near[1:]) if a < m + 5), default=10) * 1e3)
        return result

    def end(self, what):
        """The end of an experiment: everything is checked, the cloud stops."""
        self.stop()
        self.check(what)
        for name in ("substrate-2", "gateway") if self.folder else ():
            none(f"{what}: failed requests to {name}, of {len(self.gets[name + ' all'])}", self.failures(name))
        self.cloud.stop()

    def check(self, what):
        """After a quiet moment: what was acknowledged is there, and each job has ended once."""
        lost, lock, todo = [], threading.Lock(), [x for _, x in self.tokens]

        def look():
            while True:
                with lock:
                    if not todo:
                        return
                    token, device = todo.pop()
                status, answer = self.cloud.sure("auth.token.check", token=token)
                if status != 200 or answer["device"] != device:
                    lost.append(f"token of {device}: {status} {answer}")
        threads = [threading.Thread(target=look) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        none(f"{what}: acknowledged writes lost, of {len(self.tokens)} ({self.unknown} unknown)", lost)
        if self.folder is None:
            return
        status, answer = self.cloud.sure("tns.list", project=self.register, limit=20)
        live = {r["number"] for r in answer.get("revisions", []) if r["live"]}
        none(f"{what}: wrong reads of the registry", self.wrong_reads + ([] if live <= self.possible and live else [f"at the end: {live}, not {self.possible}"]))
        sh("git", "fetch", "-q", "origin", cwd=self.folder / "code")
        there = set(sh("git", "rev-list", "origin/main", cwd=self.folder / "code").split())
        none(f"{what}: acknowledged pushes lost, of {len(self.commits)}", [c for _, c in self.commits if c not in there])
        until = time.monotonic() + JOB_SECONDS_MAX
        while True:
            jobs = [j for j in self.cloud.sure("patrick.jobs", project=self.project, limit=1000)[1]["jobs"] if j["kind"] == "code"]
            open_jobs = [f"{j['id']} {j['state']} attempt {j['attempt']}" for j in jobs if j["state"] not in ("done", "failed", "cancelled")]
            if not open_jobs or time.monotonic() > until:
                break
            time.sleep(0.3)
        none(f"{what}: jobs that have not ended {JOB_SECONDS_MAX} s later, of {len(jobs)}", open_jobs)
        count = collections.Counter(j["commit"] for j in jobs)
        none(f"{what}: acknowledged pushes without exactly one job", [f"{c}: {count[c]}" for _, c in self.commits if count[c] != 1])
        none(f"{what}: jobs that failed", [f"{j['id']} attempt {j['attempt']}: {j['error']}" for j in jobs if j["state"] == "failed"])
        self.look()
        none(f"{what}: jobs with two published revisions", [f"{job}: {sorted(n)}" for job, n in self.publications.items() if len(n) > 1])
        text = re.search(r'"([A-Z0-9]*)", \d', next((self.folder / "code/functions/ping").glob("*.c")).read_text()).group(1)
        if self.commits and self.commits[-1][1] == sh("git", "rev-parse", "HEAD", cwd=self.folder / "code").strip():
            got, until = {}, time.monotonic() + 10
            while set(got.values()) != {text} and time.monotonic() < until:
                got = {port: sh("curl", "-s", "-m", 5, "-H", f"Host: {self.fqdn}", f"http://127.0.0.1:{port}/ping", check=False) for port in (14529, 14530)}
                time.sleep(0.1)
            good = set(got.values()) == {text}
            note(f"{what}: both substrates give the last answer pushed", "" if good else str(got), text, good)
            for r in self.cloud.sure("tns.list", project=self.project, limit=3)[1]["revisions"] if not good else ():
                print(f"    revision {r['number']} live {r['live']} sequence {r['sequence']} of {r['code_commit'][:8]}, last pushed {self.commits[-1][1][:8]}")
