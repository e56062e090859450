#!/usr/bin/env python3
"""Model of the session protocol over a register with two operations, read and write-if.

It runs random interleavings of browsers, of savers in two processes, and of logouts. Commands fail, answers are lost (with the
rule that repeats a command once), requests are cancelled, time passes, Python and another program write beside it.

    session_model.py [--runs N] [--seed S] [--python] [--slow]   random runs; exit status 1 if one is wrong
    session_model.py --trace SEED [--python] [--slow]            one run, step by step
    session_model.py --break NAME                                with a planted fault
    session_model.py --all-breaks [--runs N]                     every planted fault; exit status 1 if one is not caught
    session_model.py --queue                                     commands per writer, with and without the queue

Not modelled: save() inside a handler, eviction, clock skew, several cookies or storages.
Single flags (see FLAGS) can be set with --set NAME=0|1, to see what each is for."""
import argparse, random, sys, collections

FLAGS = {  # name: (as first drafted, as it is) and what it is
    "user_rotates":   (0, 1),  # a save that gives the session another user moves it to a fresh identity (else: replaced in place, then listed)
    "handle":         (0, 1),  # end_others knows a session by a handle that renewals carry along (else: by its identity)
    "deadline":       (0, 1),  # end_all gives up before a tombstone can expire
    "dead_tomb":      (0, 1),  # a login writes `replaced` also where its cookie names no live record (a tombstone, `{}`, nothing)
    "why":            (0, 1),  # tombstones say why; a logout on `replaced` is Ok and sends no removal
    "start_ends":     (0, 0),  # what starts a new session over an expired record ends that record
    "keep_tombs":     (0, 1),  # the index keeps entries whose key holds a tombstone; only missing ones are pruned
    "quiet_update":   (0, 0),  # an update does not send the cookie again
    "own_bytes":      (1, 1),  # own bytes found by the repeated write are "done"
    "settle_unknown": (0, 1),  # a renewal whose last step is unknown is settled by a read
    "lineage_check":  (0, 1),  # a merge checks that the record found is the same session (handle), not another one of that identity
    "refresh_moved":  (0, 1),  # a login that followed `moved` writes `replaced` over the `moved` too, so that it lives another minute
    "clear_follows":  (0, 0),  # a clear() with nothing set after it ends like invalidate() when its save finds a tombstone (else: 409)
}
BREAKS = ["blind-write", "no-merge", "delete", "mark-first", "no-follow", "answer-first", "list-first", "adopt", "end-once", "no-own-bytes", "swallow",
          "others-follow", "index-ttl", "queue-leak", "expired-stays", "present-end", "empty-ends", "renew-no-list", "no-refresh", "retry-blind", "nil-written",
          # revoked, and the table
          "revoked-as-ended", "revoke-over", "login-keeps-tombs", "login-keeps-revoked", "login-keeps-py", "login-no-follow", "chain-end-stays", "login-keeps-moved",
          "set-on-ended", "set-on-replaced", "set-blind-chain", "login-409", "py-409", "write-on-revoked-409", "logout-removes", "new-at-save",
          # the emptied session
          "adopt-empty", "empty-no-merge", "empty-no-mark", "empty-blind-mark",
          # the queue
          "queue-blind", "queue-sleep", "queue-waiter-leak",
          # another program's data
          "limit-never", "limit-no-follow", "foreign-replaced", "foreign-ended", "foreign-overwritten", "foreign-adopted", "foreign-stays"]
ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--runs", type=int, default=20000); ap.add_argument("--seed", type=int, default=1)
ap.add_argument("--design", default="fixed"); ap.add_argument("--set", nargs="*", default=[]); ap.add_argument("--break", dest="brk", default="")
ap.add_argument("--python", action="store_true"); ap.add_argument("--slow", action="store_true"); ap.add_argument("--trace", type=int)
ap.add_argument("--queue", action="store_true"); ap.add_argument("--all-breaks", action="store_true"); ap.add_argument("--faults", type=float, default=0.03)
ap.add_argument("--cancel", type=float, default=0.01); ap.add_argument("--show", type=int, default=2); ap.add_argument("--only", default="")
ap.add_argument("--kinds", default=""); ap.add_argument("--small", action="store_true"); ap.add_argument("--stats", action="store_true")
A = ap.parse_args()
F = {k: v[A.design == "fixed"] for k, v in FLAGS.items()}
for s in A.set: k, v = s.split("="); assert k in F, k; F[k] = int(v)
B = A.brk
if B and B not in BREAKS: ap.error(f"no planted fault {B}")

MAX_AGE, GRACE, TOMB = 300, 60, 60
Rec = collections.namedtuple("Rec", "data created listed handle ghost")   # listed: until when the index covers it; ghost: the model's own
ENDED, REPLACED, REVOKED = ("tomb", "ended"), ("tomb", "replaced"), ("tomb", "revoked")
PY = ("py{}",)
class Forgot(tuple): pass                                          # the same bytes; the model knows that only an unused twin was taken back
class Unavailable(Exception): pass
class Ended(Exception): pass
def is_rec(v): return isinstance(v, Rec)
def is_tomb(v): return isinstance(v, tuple) and not is_rec(v) and v[0] == "tomb"
def is_foreign(v): return isinstance(v, tuple) and not is_rec(v) and v[0] == "foreign"
def is_opaque(v): return is_foreign(v) and v[2]                     # cannot be returned as bytes, so it cannot be compared either
def moved_to(v): return v[2] if is_tomb(v) and v[1] == "moved" else None
def emptied(rec): return not set(dict(rec.data)) - {"short"}
CAUSE = {"login": "replaced", "all": "revoked", "others": "revoked"}


class World:
    def __init__(self, rnd):
        self.rnd, self.d, self.ver, self.n, self.now, self.step = rnd, {}, 0, 0, 1000, 0
        self.commands, self.by_value, self.native, self.ends_queue = 0, rnd.random() < 0.6, rnd.random() < 0.5, rnd.random() < 0.5
        self.queues, self.lin, self.known, self.bad, self.delayed = {}, {}, {}, [], []
        self.faulty, self.foreign, self.queued = rnd.random() < 0.7, rnd.random() < 0.3, True
        self.limit, self.listing, self.owner_ghost = rnd.choice([None, None, 1, 2, 3]), {}, {}
        self.stats, self.last_of, self.waits = collections.Counter(), {}, set()
        # For the checks, beside what the store holds: when and by whom a key's session was replaced, the column of the table that a
        # request finds at a key, and when Python or another program last wrote there.
        self.replaced, self.by, self.cause, self.disturbed = {}, {}, {}, {}
        self.actor = self.owner = None
    def fresh(self, p="id"): self.n += 1; return f"{p}{self.n}"
    def trace(self, *a):
        if A.trace is not None: print(f"[{self.step:4} t={self.now}]", *a)
    # the register
    def get(self, k):
        e = self.d.get(k)
        if e and e[2] is not None and self.now >= e[2]: del self.d[k]; e = None
        return e                                                  # (value, version, expires)
    def ends_it(self):
        if self.actor and self.actor.kind in ("write", "touch", "take", "empty", "clear", "renew", "renewset", "inplace", "read"): self.bads(f"P2: a {self.actor.kind} ended a session")
    def is_twin(self, k, ghost):
        """Created by a renewal that has not taken its place yet: no client knows it, and the session lives elsewhere."""
        return k not in self.known and any(o != k and o in self.known and is_rec(e[0]) and e[0].ghost == ghost for o, e in self.d.items())
    def put(self, k, v, ttl):
        old = self.get(k); self.ver += 1; who = self.owner or self.actor
        if old and is_foreign(old[0]) and not is_foreign(v):
            if not (who and who.kind in ("logout", "invset") and who.loaded_key == k): self.bads(f"F: a {who and who.kind} overwrote foreign data")
            if is_opaque(old[0]): self.bads("F: foreign data that nobody can compare was overwritten")
        if old and is_rec(old[0]) and type(v) is not Forgot and not self.is_twin(k, old[0].ghost) and (is_tomb(v) and v[1] != "moved" or v == PY): self.lin[old[0].ghost]["dead"] = True; expired(self, old[0]) or v == REVOKED or self.ends_it()
        if is_tomb(v) and (old and is_rec(old[0]) or v == REPLACED or type(v) is Forgot):
            self.cause[k] = "moved" if moved_to(v) else "revoked" if v == REVOKED else CAUSE.get(who.kind if who else None, "ended")
            if type(v) is not Forgot and self.cause[k] != "revoked": self.replaced[k] = self.now; self.by[k] = who.kind if who else None
        if is_rec(v) and self.lin[v.ghost]["u"] != user_of(v): self.lin[v.ghost].update(u=user_of(v), since=self.step)
        if is_rec(v): self.last_of[k] = (v.ghost, v.created + age_of(v)); self.cause.pop(k, None)
        if moved_to(v) and old and is_rec(old[0]):                 # it moved to where an end was faster
            e = self.get(moved_to(v))
            if e and is_tomb(e[0]) and type(e[0]) is not Forgot: self.lin[old[0].ghost]["dead"] = True
        self.d[k] = (v, self.ver, None if ttl is None else self.now + ttl); self.trace("   store", k, v, ttl); return self.d[k]
    def cas(self, k, v, ttl, only):
        now = self.get(k)
        if only == "missing": ok = now is None
        elif only == "present": ok = now is not None
        elif now is not None and is_opaque(now[0]): ok = False
        else: ok = now is not None and (now[0] == only[0] if self.by_value else now[1] == only[1])
        return (True, self.put(k, v, ttl)) if ok else (False, now)
    def fault(self):
        if not self.faulty: return None
        x = self.rnd.random()
        return "before" if x < A.faults / 2 else "after" if x < A.faults else "silent" if x < A.faults * 1.3 else None
    def bads(self, what): self.bad.append(what); self.trace("!!!!", what)


def call(w, fn, own=None, nil=False):
    """One command. `fn` carries it out. A dropped connection: repeated once; own bytes found by the repeated write: done."""
    for attempt in (1, 2):
        yield
        w.commands += 1; f = w.fault()
        if f == "silent":                                          # no answer in time: not applied, applied, or applied later
            how = w.rnd.random()
            if how < .4: fn()
            elif how < .7: w.delayed.append((w.actor, fn))
            raise Unavailable
        if f == "before": continue
        a = fn()
        if f == "after": w.trace("   (answer lost)"); continue
        if own is not None and not a[0]:
            if attempt == 2 and B == "retry-blind": return True, w.put(*own, None)
            if attempt == 2 and F["own_bytes"] and B != "no-own-bytes" and a[1] and a[1][0] == own[1]: return True, a[1]
            if nil and (a[1] is None or w.rnd.random() < .3):      # native compare-and-set: nil; settled by a read
                if B == "nil-written" and a[1] is not None: return True, a[1]
                now = yield from read(w, own[0])
                if attempt == 2 and F["own_bytes"] and now and now[0] == own[1]: return True, now
                return False, now
        return a
    raise Unavailable


def read(w, k): return (yield from call(w, lambda: w.get(k)))
def write(w, k, v, ttl, only):
    """Writes `v` if `k` still holds what `only` says. Returns (True, what it wrote) or (False, what it found: None is missing)."""
    if not w.by_value and isinstance(only, tuple) and only[1] is None:   # memcached did not tell the version of an own write
        now = yield from read(w, k)
        if now is None or now[0] != only[0]: return False, now
        only = now
    ok, now = yield from call(w, lambda: w.cas(k, v, ttl, only), (k, v), nil=w.native and isinstance(only, tuple))
    if ok: return True, (v, now[1] if w.by_value else None, None)
    if not w.by_value: now = yield from read(w, k)                 # memcached's conflict does not carry the value
    return False, now


# ---- the index of a user: entries (key, until, handle)
def idx(user): return f"@{user}"
def until(w): return w.now + MAX_AGE + GRACE
def index_ttl(w, entries, ours):
    last = ours if B == "index-ttl" else max([u for _, u, _ in entries] + [ours])
    return max(1, last - w.now)
def cover(w, rec): return w.now + age_of(rec) + GRACE + 40
def add(w, user, key, upto, handle):
    """Lists, or covers until `upto`; prunes when the list has grown."""
    while True:
        now = yield from read(w, idx(user)); have = now[0][1] if now else ()
        if any(k == key and u >= upto for k, u, _ in have): return have
        if any(e[0] == key for e in have): keep = tuple((key, upto, handle) if e[0] == key else e for e in have)
        else:                                                      # a renewed session gets the place behind its old record
            at = max([i + 1 for i, e in enumerate(have) if e[2] == handle], default=len(have)); keep = have[:at] + ((key, upto, handle),) + have[at:]
        if len(keep) > 4:
            left = []
            for e in keep:
                r = e[0] != key and (yield from read(w, e[0]))
                if e[0] == key or r and (is_rec(r[0]) or F["keep_tombs"] and is_tomb(r[0])): left.append(e)
            keep = tuple(left)
        new = keep
        ok, _ = yield from write(w, idx(user), ("idx", new), index_ttl(w, new, upto), now or "missing")
        if ok: return new
def enforce(w, key, handle):
    """After a login: ends the oldest sessions beyond the limit, by their place in the index. What has ended already counts."""
    user, entries = w.listing.pop(key, (None, ()))
    if not entries or not w.limit: return
    handles = list(dict.fromkeys(h for _, _, h in entries)); surplus, live = len(handles) - w.limit, []
    for h in handles:
        if surplus <= 0: break
        if h == handle: continue
        alive = False
        for k, _, of in entries:
            if of != h: continue
            now = yield from read(w, k)
            while now and moved_to(now[0]) and B != "limit-no-follow": now = yield from read(w, moved_to(now[0]))   # listed after our look
            alive = alive or bool(now and is_rec(now[0]) and user_of(now[0]) == user and not expired(w, now[0]))
        if alive and B != "limit-never": live.append(h)
        else: surplus -= 1
    for h in live[:max(surplus, 0)]:
        for k, _, of in entries:
            if of == h: yield from end(w, k, REVOKED, user, handle, ghost_limit=w.owner_ghost.get(key))
def limited(w, key, handle):
    """A failure at the limit costs no login."""
    try: yield from enforce(w, key, handle)
    except Unavailable: w.stats.update(["limit not enforced"])
def remove(w, user, gone):
    while True:
        now = yield from read(w, idx(user))
        if not now: return
        left = tuple(e for e in now[0][1] if e[0] not in gone)
        ok, _ = yield from write(w, idx(user), ("idx", left), index_ttl(w, left, w.now + 1), now)
        if ok: return


# ---- the session of one request
class Sess: pass
def age_of(rec): return 60 if dict(rec.data).get("short") else MAX_AGE     # a lifetime of its own
def expired(w, rec): return w.now - rec.created > age_of(rec)
def load(w, cookie):
    """`key` and `seen`: a record that lives, an emptied one too. `exp`: a record in its grace. `tomb`: a tombstone that says why."""
    s = Sess(); s.cookie, s.key, s.seen, s.data, s.tomb, s.exp, s.emptied, s.left, s.py = cookie, None, None, {}, None, None, False, None, False
    if not cookie: return s
    now = yield from read(w, cookie)
    if now is None or is_foreign(now[0]): return s
    if now[0] == PY: s.py = True; return s
    if is_tomb(now[0]): s.tomb = now[0]; return s
    if expired(w, now[0]): s.exp = now; return s
    s.key, s.seen, s.emptied = cookie, now, emptied(now[0])
    s.data = {} if s.emptied else dict(now[0].data); return s

def apply(base, delta):
    data = {} if delta.get("clear") else dict(base)
    for k in delta.get("rm", ()): data.pop(k, None)
    data.update(delta.get("set", {})); return data
def stamp(w, old, delta, handle, listed=None):
    data = apply(dict(old.data) if old else {}, delta)
    touched = bool(delta.get("clear") or delta.get("rm") or delta.get("set")) or not old
    return Rec(tuple(sorted(data.items())), w.now if touched else old.created, listed, handle, delta["ghost"] if not old else old.ghost)
def ttl_of(w, rec): return max(1, rec.created + age_of(rec) + GRACE - w.now)
def user_of(rec): return dict(rec.data).get("user")


# ---- the queue: savers of one session in one process take turns. It is advice: every write is still conditional.
class Queue:
    def __init__(self): self.waiters, self.baton, self.broken, self.failures = [], None, False, 0


def join(w, proc, key, me):
    """Waits for the turn. Returns the queue and what the saver before left at the key (None: not known); no queue: go on outside it."""
    q = w.queues.setdefault((proc, key), Queue()); q.waiters.append(me); w.waits.add(me); before = q.failures
    if len(q.waiters) > 1: w.stats["queued"] += 1
    while q.broken or q.waiters[0] is not me:
        if q.broken: w.waits.discard(me); return None, None
        if q.waiters[0] not in w.waits: w.bads("stalled: a saver waits behind a request that is gone"); return None, None
        if w.faulty and w.rnd.random() < .002: leave(w, proc, key, q, me); raise Unavailable   # the backend's timer
        yield
    if q.failures > before + 1: w.bads("queue: a saver waited for two calls that failed")
    return q, q.baton


def leave(w, proc, key, q, me, left=None, failed=False):
    """Passes the turn, with what the holder left at the key. A holder whose call fails wakes all."""
    w.waits.discard(me)
    if q is None or me not in q.waiters: return
    if failed and q.waiters[0] is me:
        q.failures += 1
        if B != "queue-sleep":
            q.broken = True
            if w.queues.get((proc, key)) is q: del w.queues[proc, key]
    if left is not None: q.baton = left
    q.waiters.remove(me)
    if not q.waiters and w.queues.get((proc, key)) is q: del w.queues[proc, key]


def save(w, proc, s, delta):
    """Returns the cookie change: ("set", key), "remove" or None. `delta`: set, rm, clear, end, new, rotate, touch."""
    if not any(delta.get(k) for k in ("set", "rm", "clear", "end", "new", "rotate", "touch")): return None
    ends = delta.get("end") or delta.get("new")
    if s.key is None or ends and not w.ends_queue or not w.queued: return (yield from carry_out(w, s, delta))
    me, q, failed = object(), None, False
    try:
        q, baton = yield from join(w, proc, s.key, me)
        result = yield from carry_out(w, s, delta, baton, blind=B == "queue-blind" and q and baton); return result
    except Unavailable: failed = True; raise
    finally:
        dropped = sys.exc_info()[0] is GeneratorExit
        here = w.queues.get((proc, s.key))
        waiting = q is None and here and me in here.waiters        # dropped while it waited
        if dropped and (B == "queue-leak" and q or B == "queue-waiter-leak" and waiting): w.waits.discard(me)
        else: leave(w, proc, s.key, here if waiting else q, me, s.left, failed)


def carry_out(w, s, delta, baton=None, blind=False):
    sets = bool(delta.get("set"))
    if delta.get("new"): return (yield from login(w, s, delta, baton))
    if delta.get("end") and sets: return (yield from invalidate_and_set(w, s, delta, baton))
    if delta.get("end"): return (yield from invalidate(w, s, baton))
    if s.key is None:
        if s.tomb and B == "adopt" and sets:
            rec = stamp(w, None, delta, s.cookie); yield from write(w, s.cookie, rec, ttl_of(w, rec), "present"); return ("set", s.cookie)
        if s.tomb and s.tomb[1] == "revoked" and B != "write-on-revoked-409" and F["why"]: pass
        elif (s.tomb or s.py and B == "py-409") and (sets or delta.get("rotate")): raise Ended
        if not sets: return None
        if B == "foreign-adopted" and s.cookie:
            now = yield from read(w, s.cookie)
            if now and is_foreign(now[0]): rec = stamp(w, None, delta, s.cookie); yield from write(w, s.cookie, rec, ttl_of(w, rec), "present"); return ("set", s.cookie)
        key, _ = yield from create(w, delta)
        yield from limited(w, key, key)
        if s.exp and F["start_ends"]: yield from end(w, s.cookie, REPLACED if F["why"] else ENDED)
        return ("set", key)
    if s.emptied:
        if not sets: return None                                   # a new session that holds nothing: nothing to store
        if B != "adopt-empty": return (yield from renew(w, s, delta, baton))
    if delta.get("clear") and not sets: return (yield from clear(w, s, baton))
    other_user = "user" in delta.get("set", {}) and delta["set"]["user"] != s.data.get("user")
    if delta.get("rotate") or other_user and F["user_rotates"] and B != "adopt-empty": return (yield from renew(w, s, delta, baton))
    return (yield from update(w, s, delta, baton, blind))


def same_session(w, s, handle, now):
    """What a save found instead of the record that it expected: goes on if it is the same session, else 409."""
    s.left = now or "missing"
    if now is None or now == "missing" or not is_rec(now[0]): raise Ended
    if F["lineage_check"] and now[0].handle and handle != now[0].handle: raise Ended
    return now


def update(w, s, delta, baton, blind=False):
    """Compare-and-swap with a merge, under the identity that the session has."""
    handle = s.seen[0].handle or s.key
    seen = same_session(w, s, handle, baton) if baton else s.seen
    while True:
        old = seen[0]
        rec = stamp(w, old, delta, old.handle or s.key, old.listed)
        user = user_of(rec)
        if user is None: rec = rec._replace(listed=None)
        elif user == user_of(old):
            # It belongs to this user already: cover it (or list it, if Python dropped that) before it lives longer.
            if (rec.listed or 0) < w.now + age_of(rec) + GRACE and B != "no-refresh":
                upto = cover(w, rec); yield from add(w, user, s.key, upto, rec.handle); rec = rec._replace(listed=upto)
        else: rec = rec._replace(listed=cover(w, rec))
        if not rec.data and B == "empty-ends":
            ok, now = yield from write(w, s.key, ENDED, TOMB, seen)
            if ok: return "remove"
        elif B == "blind-write" or blind: yield; now = w.put(s.key, rec, ttl_of(w, rec)); ok = True
        elif B == "foreign-overwritten" and (here := w.get(s.key)) and is_foreign(here[0]): yield; now = w.put(s.key, rec, ttl_of(w, rec)); ok = True
        else: ok, now = yield from write(w, s.key, rec, ttl_of(w, rec), seen)
        if ok:
            s.left = now                                           # the next in the queue begins with this
            if user is not None and user != user_of(old): yield from add(w, user, s.key, rec.listed, rec.handle)
            return None if F["quiet_update"] else ("set", s.key)
        if B == "new-at-save" and (now is None or not is_rec(now[0])) and delta.get("set"):
            key, _ = yield from create(w, dict(delta, ghost=new_lin(w, None))); return ("set", key)
        seen = same_session(w, s, handle, now)
        if B == "no-merge": seen = (old, now[1], now[2]) if not w.by_value else now; delta = dict(delta, clear=True, set={**s.data, **delta.get("set", {})})


def create(w, delta, handle=None, old=None):
    """Stores a record under a fresh identity, and lists it if it has a user. A key that is taken is left alone."""
    while True:
        k = w.fresh(); rec = stamp(w, old, delta, handle or k)
        user = user_of(rec)
        if user is not None: rec = rec._replace(listed=cover(w, rec))
        if user is not None and B == "list-first": yield from add(w, user, k, rec.listed, rec.handle)
        ok, now = yield from write(w, k, rec, ttl_of(w, rec), "missing")
        if not ok: continue
        if user is not None and B not in ("list-first", "answer-first") and not (B == "renew-no-list" and old):
            entries = yield from add(w, user, k, rec.listed, rec.handle)
            if old is None or user_of(old) != user: w.listing[k], w.owner_ghost[k] = (user, entries), rec.ghost
        return k, now


def forget(w, key, st):
    """Takes back, as far as it can, a record that was created and will not be used."""
    try:
        for _ in range(3):
            ok, now = yield from write(w, key, Forgot(ENDED), TOMB, st)
            if ok or now is None or not is_rec(now[0]): return
            st = now
    except Unavailable: w.stats.update(["orphan left"])


def renew(w, s, delta, baton=None):
    """Moves the session to a fresh identity: create, list, then leave `moved`. What was saved meanwhile is merged into the new record.
    A save of a session that was found emptied does the same."""
    old = s.key; handle = s.seen[0].handle or old
    if w.actor: w.actor.moving = True
    if B == "mark-first":
        k = w.fresh(); ok, now = yield from write(w, old, ("tomb", "moved", k), TOMB, s.seen)
        if not ok: raise Ended
        rec = stamp(w, s.seen[0], delta, handle); yield from write(w, k, rec, ttl_of(w, rec), "missing"); return ("set", k)
    seen = same_session(w, s, handle, baton) if baton else s.seen
    new, mine = yield from create(w, delta, handle, seen[0])
    if s.emptied and B == "empty-no-mark": return ("set", new)
    mark = ("tomb", "moved", new)
    while True:
        try: ok, now = yield from write(w, old, mark, TOMB, "present" if s.emptied and B == "empty-blind-mark" else seen)
        except Unavailable:
            w.lin[seen[0].ghost]["excused"] = True                # two answers lost, or silence: it is unknown whether it moved
            if not F["settle_unknown"]: raise
            now = yield from read(w, old)
            if now and now[0] == mark: return ("set", new)
            if now and is_rec(now[0]): yield from forget(w, new, mine); raise
            ok = False
        if ok:
            s.left = (mark, None, None)
            yield from limited(w, new, handle)
            return ("set", new)
        try: seen = same_session(w, s, handle, now)
        except Ended: yield from forget(w, new, mine); raise
        if s.emptied and B == "empty-no-merge": continue
        rec = stamp(w, seen[0], delta, handle)
        if user_of(rec) is not None:
            rec = rec._replace(listed=cover(w, rec)); yield from add(w, user_of(rec), new, rec.listed, handle)
        ok, st = yield from write(w, new, rec, ttl_of(w, rec), mine)
        if not ok: raise Ended                                    # end_all reached the new one first
        mine = st


def end(w, key, kind, user=None, keep=None, seen=None, ghost_keep=None, ghost_limit=None, over=False, loaded=None):
    """Ends what is at `key` by compare-and-swap, following `moved`. Returns "done", or why there was nothing to end.
    `over`: a login's, leaves `kind` whatever is there, foreign data excepted. `keep`: handle or key of a session that stays.
    `loaded`: the key that an invalidated session was loaded from; what another program has put there since ends, too."""
    trail = []
    while True:
        now = seen if seen and seen != "missing" else (yield from read(w, key)); seen = None
        v = now[0] if now else None
        if moved_to(v):
            if B == "no-follow" or B == "login-no-follow" and over: return "moved"
            if keep and moved_to(v) == keep and B != "others-follow": return "kept"
            if B == "revoke-over" and kind == REVOKED: yield from write(w, key, kind, TOMB, now)
            trail.append((key, now)); key = moved_to(v); continue
        why = "missing" if v is None or v == PY else v[1] if is_tomb(v) else "foreign" if is_foreign(v) else "done"
        if is_rec(v):
            if user is not None and user_of(v) != user: return "other"
            if keep and F["handle"] and (v.handle or key) == keep and B != "others-follow": return "kept"
        elif is_foreign(v):
            ends = key == loaded and not is_opaque(v) and B != "foreign-stays" or B == "foreign-replaced" and over or B == "foreign-ended" and kind == ENDED
            if not ends: return why
        elif B == "revoke-over" and kind == REVOKED and is_tomb(v): pass
        elif not over or not F["dead_tomb"]: return why
        elif B == "login-keeps-tombs" and is_tomb(v) or B == "login-keeps-revoked" and v == REVOKED or B == "login-keeps-py" and v == PY: return why
        elif B == "chain-end-stays" and trail: return why
        if B == "delete":
            yield
            if w.get(key) == now and is_rec(v): w.lin[v.ghost]["dead"] = True; w.replaced[key] = w.now; del w.d[key]
            continue
        only = "present" if B == "present-end" or B in ("foreign-replaced", "foreign-ended") and is_opaque(v) else now or "missing"
        ok, _ = yield from write(w, key, kind, TOMB, only)
        if ok and is_rec(v) and ghost_keep is not None and v.ghost == ghost_keep and not w.lin[v.ghost]["python"]: w.bads("end_others ended the session that is kept")
        if ok and is_rec(v) and v.ghost == ghost_limit and not w.lin[v.ghost]["python"]: w.bads("P11: the limit ended the session that has just logged in")
        if not ok and B != "end-once": continue
        if over and F["refresh_moved"] and B != "login-keeps-moved":
            for k, st in trail:
                yield from write(w, k, kind, TOMB, st)             # what is there instead was put there by somebody who knew better
        return why


def invalidate(w, s, baton=None, loaded=True):
    if not s.cookie: return None
    if s.tomb == REPLACED and F["why"] and B != "logout-removes": return None   # a login has taken its place: nothing to end, its cookie stays
    if B == "expired-stays" and s.exp: return "remove"
    if F["why"] and not (s.key or s.exp or moved_to(s.tomb) or B == "foreign-ended"): return "remove"    # the load has seen that there is nothing to end
    found = yield from end(w, s.cookie, ENDED, seen=baton or s.seen or s.exp, loaded=s.key if loaded else None)
    s.left = (ENDED, None, None) if found == "done" else None
    return None if found == "replaced" and F["why"] and B != "logout-removes" else "remove"


def clear(w, s, baton=None):
    """clear() with nothing set after it is an end. It is no invalidate(): on a tombstone it is 409, as any other save."""
    handle = s.seen[0].handle or s.key
    if F["clear_follows"]: return (yield from invalidate(w, s, baton, loaded=False))
    seen = same_session(w, s, handle, baton) if baton else s.seen
    while True:
        ok, now = yield from write(w, s.key, ENDED, TOMB, seen)
        if ok: s.left = (ENDED, None, None); return "remove"
        seen = same_session(w, s, handle, now)


def invalidate_and_set(w, s, delta, baton=None):
    """Create, then end; 409 and the new one taken back if a logout or a login was faster."""
    if s.tomb == REPLACED and B != "set-on-replaced" or s.tomb == ENDED and B != "set-on-ended": raise Ended
    key, mine = yield from create(w, delta)
    if s.key or s.exp or moved_to(s.tomb):
        try: found = yield from end(w, s.cookie, ENDED, seen=baton or s.seen or s.exp, loaded=s.key)
        except Unavailable: yield from forget(w, key, mine); raise
        s.left = (ENDED, None, None) if found == "done" else None
        if found in ("replaced", "ended") and not s.exp and B != "set-blind-chain": yield from forget(w, key, mine); raise Ended
    yield from limited(w, key, key)
    return ("set", key)


def login(w, s, delta, baton=None):
    """new_session(): create, list, leave `replaced` at what the cookie names, answer."""
    if B == "login-409" and s.tomb: raise Ended
    key, mine = yield from create(w, delta)
    try:
        if s.cookie and not (B == "expired-stays" and s.exp):
            found = yield from end(w, s.cookie, REPLACED if F["why"] else ENDED, seen=baton or s.seen or s.exp, over=True)
            s.left = (REPLACED, None, None) if found == "done" else None
    except Unavailable: yield from forget(w, key, mine); raise
    if B == "answer-first": w.late.append(add(w, delta["set"]["user"], key, cover(w, mine[0]), key))
    yield from limited(w, key, key)
    return ("set", key)


def end_all(w, user, began):
    now = yield from read(w, idx(user)); entries = [e[0] for e in now[0][1]] if now else []
    w.rnd.shuffle(entries); n = 0
    for e in entries: n += (yield from end(w, e, ENDED if B == "revoked-as-ended" else REVOKED, user)) == "done"
    if F["deadline"] and w.now - began >= TOMB // 2: raise Unavailable
    if not F["keep_tombs"]: yield from remove(w, user, entries)
    return n
def end_others(w, s, began):
    user, keep = s.data.get("user"), s.seen[0].handle or s.key
    now = yield from read(w, idx(user)); entries = [e for e in now[0][1]] if now else []
    w.rnd.shuffle(entries); gone = []
    for k, _, h in entries:
        if k == s.key or F["handle"] and h == keep and B != "others-follow": continue
        yield from end(w, k, REVOKED, user, keep if F["handle"] else s.key, ghost_keep=s.seen[0].ghost); gone.append(k)
    if F["deadline"] and w.now - began >= TOMB // 2: raise Unavailable
    if not F["keep_tombs"]: yield from remove(w, user, gone)


# ---- requests
def python(w, cookie, how, key, ghost):
    yield
    now = w.get(cookie) if cookie else None
    if now is None or is_tomb(now[0]) or now[0] == PY or is_foreign(now[0]): return None
    old = now[0]; data = dict(old.data)
    if w.now - old.created > MAX_AGE: data = {}
    if how == "set": data[key] = 1
    elif how == "pop" and data: data.pop(sorted(data)[0])
    elif how == "invalidate": data = {}
    yield; yield
    if (here := w.get(cookie)) and is_foreign(here[0]): return None
    disturb(w, cookie); w.lin[old.ghost]["python"] = True
    if not data: w.put(cookie, PY, MAX_AGE); return "remove"
    w.put(cookie, Rec(tuple(sorted(data.items())), w.now, None, None, old.ghost), MAX_AGE); return ("set", cookie)


def disturb(w, k):
    """Python, or another program, writes at `k`: what the checks know about it no longer holds."""
    w.disturbed[k] = w.step; w.replaced.pop(k, None); w.by.pop(k, None); w.cause.pop(k, None)
    if k in w.last_of: w.lin[w.last_of[k][0]]["python"] = True


def chain(w, k):
    """The keys from `k` to the end of its chain, each with when it expires."""
    found = []
    while k and k not in [x for x, _ in found]:
        e = w.get(k); found.append((k, e[2] if e else None)); k = moved_to(e[0]) if e else None
    return found
def ghost_at(w, key):
    e = w.get(chain(w, key)[-1][0]) if key else None
    return e[0].ghost if e and is_rec(e[0]) else None
def column(w, k):
    """The column of the table that a request finds at `k`. It goes by who wrote there, not by what the tombstone says."""
    e = w.get(k) if k else None
    if e is None or e[0] == PY: return "missing"
    if is_foreign(e[0]): return "foreign"
    if is_rec(e[0]): return "expired" if expired(w, e[0]) else "emptied" if emptied(e[0]) else "live"
    return w.cause.get(k, e[0][1])


WRITES = ("write", "renew", "renewset", "clear", "inplace")
class Request:
    def __init__(self, w, br, kind, cookie):
        self.w, self.br, self.kind, self.cookie, self.proc = w, br, kind, cookie, w.rnd.randrange(2)
        self.began, self.t0, self.loaded_ghost, self.loaded_key, self.delta, self.origin = w.step, w.now, None, None, {}, None
        self.late, self.taken, self.moving, self.saving, self.save_t0 = 0, 0, False, None, 0
        self.known = set(w.known)                                  # identities that some client knows already
        self.chain, self.chain_ghost = chain(w, cookie) if cookie else [], ghost_at(w, cookie)
        self.g = self.run(); self.id = w.fresh("r")
    def run(self):
        w, kind, rnd = self.w, self.kind, self.w.rnd
        if kind.startswith("py-"): return (yield from python(w, self.cookie, kind[3:], w.fresh("p"), None))
        if kind == "all": return (yield from end_all(w, self.br.user, self.t0))
        if kind == "login" and rnd.random() < .5:                  # without a look at what the cookie names
            s = Sess(); s.cookie, s.key, s.seen, s.tomb, s.exp, s.data, s.left = self.cookie, None, None, None, None, {}, None
        else:
            s = yield from load(w, self.cookie)
            self.origin = column(w, self.cookie) if self.cookie else "none"
            self.loaded_ghost = s.seen[0].ghost if s.seen else None
            self.loaded_key = s.key
            if not s.key and self.cookie:                          # until when the promise about a replaced cookie holds for it
                self.late = w.replaced.get(self.cookie, -999) + TOMB
                keys = [k for k, _ in chain(w, self.cookie)]
                self.taken = min(self.late, max([w.replaced[k] + TOMB for k in keys if w.by.get(k) == "login"] + [0]))
        if kind == "others":
            if s.data.get("user") is None: return None
            return (yield from end_others(w, s, self.t0))
        if kind == "read": return None
        user = {"user": self.br.user, **({"short": 1} if kind == "login" and rnd.random() < .2 else {})}
        d = self.delta = {"write": dict(set={w.fresh("k"): 1}), "touch": dict(touch=True), "logout": dict(end=True), "renew": dict(rotate=True),
                          "take": dict(rm=[k for k in s.data if k not in ("user", "short")][:1]), "empty": dict(rm=[k for k in s.data if k != "short"]), "clear": dict(clear=True, set={w.fresh("k"): 1}),
                          "clearall": dict(clear=True) if s.data else {}, "renewset": dict(rotate=True, set={w.fresh("k"): 1}),
                          "invset": dict(end=True, set={w.fresh("k"): 1}), "login": dict(new=True, set=user), "inplace": dict(set=user)}[kind]
        if kind in ("login", "invset"): d["ghost"] = new_lin(w, user["user"] if kind == "login" else None)
        else: d["ghost"] = s.seen[0].ghost if s.seen else new_lin(w, None) if d.get("set") else -1
        for _ in range(rnd.choice([0, 0, 0, 3, 10])): yield       # a slow handler
        self.saving, self.save_t0 = w.step, w.now
        return (yield from save(w, self.proc, s, d))
def new_lin(w, user):
    i = len(w.lin); w.lin[i] = dict(user=user, dead=False, acked={}, removed=set(), tried_rm=set(), answered=None, ended=None, excused=False, python=False, u=None, since=0, last=w.now, ua=10**9); return i


class Browser:
    def __init__(self, user): self.user, self.jar, self.answers, self.last_login, self.left = user, None, [], None, []   # left: cookies that it had


def check_table(w, r, result, error):
    """The table: what a request does that found no live record when it loaded."""
    if error == "503" or r.origin is None or r.kind in ("others", "all") or r.kind.startswith("py-"): return
    got = error or ("set" if isinstance(result, tuple) else result)
    sets = r.delta.get("set"); free = r.origin in ("none", "missing", "expired", "foreign")
    if r.origin in ("live", "emptied"): want = None
    elif r.kind == "login": want = ("set",)
    elif r.kind == "logout":
        if r.origin == "none": want = (None,)
        elif r.origin == "moved": want = (None,) if w.now < r.taken else ("remove", None)
        elif r.origin == "expired": want = ("remove", None)        # a login may take its place meanwhile
        else: want = (None,) if r.origin == "replaced" else ("remove",)
    elif r.kind == "invset":
        if r.origin == "moved": want = ("409",) if w.now < r.taken else ("set", "409")
        else: want = ("set",) if free or r.origin == "revoked" else ("409",)
    elif r.kind in WRITES: want = (("set",) if sets else (None,)) if free or r.origin == "revoked" else ("409",)
    else: want = (None,)
    if want and got not in want: w.bads(f"T: {r.kind} on {r.origin} gives {got} and not {want}")
    if r.origin == "emptied" and r.kind in WRITES and sets and not error:
        if not isinstance(result, tuple) or result[1] == r.cookie: w.bads(f"P4: a {r.kind} adopted the identity of an emptied session")
    if r.origin == "emptied" and r.kind in ("read", "touch", "take", "empty", "clearall", "renew") and (result or error): w.bads(f"T: {r.kind} on an emptied session gives {got}")
    if isinstance(result, tuple) and r.origin != "live" and result[1] in r.known: w.bads(f"P4: a {r.kind} that found {r.origin} adopted an identity that was known before")
    if isinstance(result, tuple) and r.origin == "live" and r.kind not in ("login", "invset") and w.last_of.get(result[1], (None,))[0] != r.loaded_ghost: w.bads(f"P3: a {r.kind} that lost its session started another")


def finished(w, r, result, error):
    """Bookkeeping when a request has its answer (not yet delivered)."""
    d = r.delta
    g = d.get("ghost") if r.kind in ("login", "invset") or r.loaded_ghost is None else r.loaded_ghost
    L = w.lin.get(g) if g is not None else None
    if L is not None and (d.get("rm") or d.get("clear")): L["tried_rm"] |= set(d.get("rm", ())) if not d.get("clear") else {"*"}
    w.stats[f"{r.kind} on {r.origin}: {error or ('set' if isinstance(result, tuple) else result)}"] += 1
    w.trace(r.id, r.kind, r.cookie, "->", result, error or "ok")
    if any(w.disturbed.get(k, -1) >= r.began for k, _ in r.chain): r.late = r.taken = 0; r.origin = None   # a slow Python writer, for one
    check_table(w, r, result, error)
    if w.now < r.late and isinstance(result, tuple) and r.kind != "login" and not (r.kind == "invset" and r.origin == "moved"): w.bads("P12: a write with a cookie that had been replaced set a cookie")
    if w.now < r.taken and isinstance(result, tuple) and r.kind != "login": w.bads("P12: a request with the cookie that a login had replaced set a cookie")
    if w.now < r.taken and result == "remove": w.bads("P12: a logout with the cookie that a login had replaced takes the login's cookie away")
    if r.moving and w.now - r.save_t0 >= TOMB and r.loaded_ghost is not None: w.lin[r.loaded_ghost]["excused"] = True   # its own tombstone may have expired
    if error: return
    if r.kind == "login" and r.cookie:
        here = w.get(chain(w, r.cookie)[-1][0])
        if not any(w.disturbed.get(k, -1) >= r.began for k in [r.cookie] + [k for k, _ in r.chain] + [k for k, _ in chain(w, r.cookie)]) and not (here and is_foreign(here[0])):
            if w.replaced.get(r.cookie, 0) < r.t0: w.replaced[r.cookie] = r.t0
            w.by[r.cookie] = "login"
            # What the cookie stood for is over, as long as the tombstones that lead there have not expired meanwhile.
            if r.chain_ghost is not None and w.now - r.t0 < TOMB and all(e is None or e > w.now for _, e in r.chain): w.lin[r.chain_ghost]["dead"] = True
    if r.kind in ("logout", "invset") and r.loaded_key:
        here = w.get(r.loaded_key)
        if here and is_foreign(here[0]) and not is_opaque(here[0]) and w.disturbed[r.loaded_key] < r.saving and w.replaced.get(r.loaded_key) is None: w.bads("F: a logout left what another program put in its session's place")
    if isinstance(result, tuple):
        w.known.setdefault(result[1], set()).add(r.br)
        if r.kind == "login": L["answered"] = L["ua"] = w.step
        elif L is not None and L["answered"] is None: L["answered"] = w.step
    if r.kind in ("logout", "invset") and r.loaded_ghost is not None: w.lin[r.loaded_ghost]["ended"] = (w.step, r.t0, w.now)
    if L is None: return
    if r.kind in ("write", "renewset", "clear", "inplace", "invset") and isinstance(result, tuple) or r.kind in ("write", "take", "empty") and F["quiet_update"]:
        for k, v in d.get("set", {}).items(): L["acked"][k] = v
        if "user" in d.get("set", {}): L["ua"] = w.step
    if r.kind in ("take", "empty") and L is not None and result is not None: L["removed"] |= {k for k in d.get("rm", ()) if k != "user"}


def plant(w):
    """Another program writes at a key of ours: that of a session, of an old cookie, or one that is about to be drawn."""
    known = sorted(w.known); k = w.rnd.choice(known + [f"id{w.n + 1}"])
    w.trace("another program writes at", k); disturb(w, k)
    w.owner = None; w.put(k, ("foreign", w.fresh("f"), w.rnd.random() < .3), None)


def run(seed):
    rnd = random.Random(seed); w = World(rnd); w.late = []
    users = ["u1", "u2"]; browsers = [Browser(rnd.choice(users)) for _ in range(2 if A.small else 3)]
    weights = {"login": 4, "write": 6, "take": 2, "empty": 2, "clear": 1, "clearall": .5, "touch": 1, "renew": 3, "renewset": 1, "logout": 1.5, "read": 1,
               "inplace": 1.5, "all": 1, "others": 1, "invset": 1}
    if A.python: weights.update({"py-set": 2, "py-pop": 1, "py-invalidate": .5})
    if A.kinds: weights = {k.split(":")[0]: float((k + ":1").split(":")[1]) for k in A.kinds.split(",")}
    kinds, ws = list(weights), list(weights.values())
    plan = rnd.randint(4, 14) if A.small else rnd.randint(8, 35); reqs = []; ends = []
    while plan or reqs or any(b.answers for b in browsers) or w.late:
        w.step += 1
        if w.step > 30000: w.bads("stalled: somebody waits for ever"); break
        if rnd.random() < .08:
            dt = rnd.choice([1, 2, 5, 10]) if reqs else rnd.choice([1, 5, 20, 50, 70, 200, 250, 320, 400])
            # A slow handler or logout takes as long as it likes. A save does not: its calls are bounded by the backend's timeout.
            if A.slow and rnd.random() < .3 and not any(r.saving for r in reqs): dt = rnd.choice([30, 65, 100, 290, 310])
            if A.slow or not reqs or w.now + dt - min(r.t0 for r in reqs) < 28: w.now += dt
        if w.delayed and rnd.random() < .05: w.actor = None; w.owner, fn = w.delayed.pop(rnd.randrange(len(w.delayed))); fn(); w.owner = None
        if w.foreign and rnd.random() < .004: w.actor = None; plant(w)
        if w.late and rnd.random() < .05:
            try: list(w.late.pop(0))
            except Unavailable: pass
        answers = [b for b in browsers if b.answers]
        if answers and rnd.random() < .25:
            b = rnd.choice(answers); r, result = b.answers.pop(rnd.randrange(len(b.answers)))   # in any order
            deliver(w, b, r, result); continue
        if plan and (not reqs or rnd.random() < .2):
            plan -= 1; b = rnd.choice(browsers); kind = rnd.choices(kinds, ws)[0]
            # A request from another window may carry a cookie that this browser has replaced meanwhile.
            cookie = b.jar if rnd.random() < .85 or not b.left else rnd.choice(b.left[-3:])
            r = Request(w, b, kind, cookie); reqs.append(r); w.trace(r.id, kind, "begins with", cookie, b.user)
            continue
        if not reqs: continue
        r = rnd.choice(reqs)
        if w.faulty and rnd.random() < A.cancel:
            w.actor = r; r.g.close(); reqs.remove(r); w.trace(r.id, "cancelled"); w.stats["cancelled"] += 1
            for x in (r.loaded_ghost, r.delta.get("ghost")):
                if x in w.lin:
                    w.lin[x]["excused"] = w.lin[x]["excused"] or r.moving
                    w.lin[x]["tried_rm"] |= set(r.delta.get("rm", ())) | ({"*"} if r.delta.get("clear") else set())
            continue
        error = result = None
        w.actor = r
        try: next(r.g); continue
        except StopIteration as done: result = done.value
        except Ended: error = "409"
        except Unavailable: error = None if B == "swallow" and r.kind == "write" else "503"; result = ("set", r.cookie) if B == "swallow" and r.cookie and r.kind == "write" else None
        reqs.remove(r)
        if r.kind == "all":
            w.stats[f"all: {error or 'ok'}"] += 1
            w.trace(r.id, "all", r.br.user, error or "ok")
            if not error: ends.append((r.br.user, r.began))
            continue
        finished(w, r, result, error)
        r.br.answers.append((r, result if not error else None))
    w.actor = None
    for w.owner, fn in w.delayed: fn()
    w.owner = None
    check(w, ends, browsers)
    return w


def directed():
    """A run that is too rare for chance: a login whose old cookie names a `moved` that expires before the login's minute is over."""
    w = World(random.Random(1)); w.faulty, w.late = False, []
    browser, cookie = Browser("u1"), None
    for kind, wait in (("login", 0), ("renew", 10), ("login", 50), ("write", 20)):
        w.now += wait; w.step += 1
        w.actor = r = Request(w, browser, kind, cookie); result = error = None
        try:
            for _ in range(1000): next(r.g)
            w.bads("stalled: somebody waits for ever"); return w
        except StopIteration as done: result = done.value
        except Ended: error = "409"
        finished(w, r, result, error)
        cookie = cookie or (result or (None, None))[1]             # all later requests carry the first one
    return w


def deliver(w, b, r, result):
    w.trace("   browser gets", r.id, r.kind, result)
    if isinstance(result, tuple):
        before = b.jar; b.jar = result[1]
        if before and before != b.jar: b.left.append(before)
        if r.kind == "login": b.last_login = (r.delta["ghost"], r)
        elif before != b.jar and b.last_login and before and ghost_at(w, before) == b.last_login[0] and ghost_at(w, b.jar) != b.last_login[0]:
            # a login's cookie was replaced by another session's
            if not w.lin[b.last_login[0]]["dead"] and r.began < w.step:
                w.stats[f"login lost in the jar: by a {r.kind} that found {r.origin}, sent with {'the same' if r.cookie == b.jar else 'another'} cookie"] += 1
                if A.only == "jar": w.bads(f"jar: login lost by {r.kind} with origin {r.origin}")
    elif result == "remove":
        if b.jar and b.last_login and ghost_at(w, b.jar) == b.last_login[0] and not w.lin[b.last_login[0]]["dead"]:
            w.stats["login lost in the jar: by a logout's removal"] += 1
            if A.only == "jar": w.bads(f"jar: login lost by the removal of {r.kind} with origin {r.origin}")
        if b.jar: b.left.append(b.jar)
        b.jar = None


def check(w, ends, browsers):
    usable = collections.defaultdict(list)
    for k in w.known:
        e = w.get(k)
        if e and is_rec(e[0]) and not expired(w, e[0]): usable[e[0].ghost].append((k, e[0]))
    listed = {}
    for u in ("u1", "u2"):
        e = w.get(idx(u)); listed[u] = {x[0] for x in e[0][1]} if e else set()
    for g, L in w.lin.items():
        live = usable.get(g, [])
        if L["python"]: continue
        if L["ended"] is not None and live and L["ended"][2] - L["ended"][1] < TOMB: w.bads(f"P3: session {g} lives after its logout was answered")
        if L["dead"] and live: w.bads(f"P3: session {g} lives after it was ended")
        if len(live) > 1 and not L["excused"]: w.bads(f"P4: session {g} is usable under {len(live)} identities")
        if L["dead"]: continue
        if L["answered"] is not None and not live and not L["excused"] and w.now <= max([c for k, (o, c) in w.last_of.items() if o == g and k in w.known] + [0]):
            w.bads(f"P4: session {g} is lost: nobody ended it, no identity of it is usable")
        for k, rec in live:
            data = dict(rec.data)
            if "*" not in L["tried_rm"]:
                for key, v in L["acked"].items():
                    if key not in ("user", "short") and key not in L["tried_rm"] and key not in data: w.bads(f"P2: acknowledged {key} of session {g} is lost")
                for key in L["removed"]:
                    if key in data: w.stats["R: an acknowledged removal is undone"] += 1; (A.only == "R") and w.bads(f"R: removed {key} is back")
    for g, lives in usable.items():
        for k, rec in lives:
            u = user_of(rec)
            if w.lin[g]["python"]: continue
            if u and k not in listed[u]: w.bads(f"P11: {k} of {u} lives and is not listed")
            for user, began in ends:
                if u == user and w.lin[g]["answered"] is not None and w.lin[g]["answered"] < began and max(w.lin[g]["since"], w.lin[g]["ua"]) < began: w.bads(f"P11: {k} of {u} lives after end_all")
    if w.limit and not (w.faulty or w.foreign or A.python):        # every login has enforced it
        for u in ("u1", "u2"):
            n = sum(1 for g, lives in usable.items() if any(user_of(rec) == u for _, rec in lives))
            if n > w.limit: w.bads(f"P11: {n} sessions of {u} live, and the limit is {w.limit}")
    for (proc, k), q in w.queues.items(): w.bads(f"queue: the entry of {k} is left behind")
    for u in listed:                                               # the index after one more login (every pruning goes through `add`)
        g = add(w, u, "last", w.now + 1000, "last")
        try:
            for _ in g: pass
        except Unavailable: continue
        e = w.get(idx(u)); n = len(e[0][1]) if e else 0
        alive = sum(1 for k, *_ in (e[0][1] if e else ()) if (x := w.get(k)) and (is_rec(x[0]) or is_tomb(x[0])))
        if n > alive + 5: w.bads(f"index of {n} with {alive} alive")


def queue_cost():
    """n writers of one session: all load, then all save. One connection: a round of commands is sent before the answers come."""
    print("commands per writer, load included, and how many saves took part; one process, then two")
    for n in (8, 64, 200, 800):
        for processes in (1, 2):
            row = []
            for by_value in (True, False):
                for queued in (False, True): row.append(f"{drive(n, by_value, queued, processes) / n:.1f}")
            print(f"  {n:4} writers in {processes}: Redis without the queue {row[0]:>6}, with it {row[1]:>5}; memcached without {row[2]:>6}, with {row[3]:>5}")
def drive(n, by_value, queued, processes):
    """Counts as the backends do: Redis: a conflict brings the value. memcached: it costs a `gets` more, and an own write's version is not known."""
    w = World(random.Random(1)); w.faulty, w.by_value, w.native, w.queued, w.late = False, by_value, False, queued, []
    ghost = new_lin(w, None); w.put("id0", Rec((("k", 1),), w.now, None, "id0", ghost), MAX_AGE)
    def writer(i):
        s = yield from load(w, "id0")
        for _ in range(3): yield
        return (yield from save(w, i % processes, s, dict(set={f"k{i}": 1}, ghost=ghost)))
    active = [writer(i) for i in range(n)]
    while active:
        left = []
        for g in active:
            try: next(g); left.append(g)
            except StopIteration: pass
        active = left
    assert len(w.get("id0")[0].data) == n + 1, "an update is lost"
    return w.commands


def main():
    if A.queue: queue_cost(); return 0
    if A.trace is not None:
        w = run(A.trace); print(w.bad); return 1 if w.bad else 0
    broken, kinds, stats = 0, collections.Counter(), collections.Counter()
    for seed in ["directed", *range(A.seed, A.seed + A.runs)]:
        w = directed() if seed == "directed" else run(seed); stats.update(w.stats)
        bad = [b for b in w.bad if A.only in b] if A.only else w.bad
        if bad:
            broken += 1; kinds.update({b.split(":")[0][:12] for b in bad})
            if broken <= A.show: print("   seed", seed, bad[:2])
    print(f"{A.design} {' '.join(A.set)} {B and 'broken: ' + B} {'python' * A.python} {'slow' * A.slow}: {broken} of {A.runs} runs wrong", dict(kinds) if kinds else "")
    if A.stats: print(*(f"    {v:7} {k}" for k, v in sorted(stats.items())), sep="\n")
    return 1 if broken else 0


EXTRA = {"limit-no-follow": ["--kinds", "login:4,renew:4,inplace:2"], "queue-leak": ["--kinds", "login:1,write:20", "--cancel", ".03"], "queue-waiter-leak": ["--kinds", "login:1,write:20", "--cancel", ".03"],
         "queue-sleep": ["--kinds", "login:1,write:20", "--faults", ".3"], "expired-stays": ["--slow", "--kinds", "login:3,write:4,logout:2,read:1"],
         "no-refresh": ["--slow", "--kinds", "login:1,write:3,read:9"], "empty-no-merge": ["--kinds", "login:1,write:8,empty:6"], "login-keeps-py": ["--python"], "chain-end-stays": ["--kinds", "login:2,renew:3,logout:4"], "py-409": ["--python"], "set-blind-chain": ["--kinds", "login:3,renew:3,invset:4"]}
def all_breaks():
    import subprocess
    missed = []
    for b in BREAKS:
        command = [sys.executable, sys.argv[0], "--runs", str(A.runs), "--seed", str(A.seed), "--show", "0", "--break", b] + EXTRA.get(b, [])
        out = subprocess.run(command, capture_output=True, text=True)
        if out.returncode != 1 or not out.stdout: missed.append(b)
        print(out.stdout.strip() or out.stderr[-300:], flush=True)
    print("not caught:", ", ".join(missed) or "none")
    return 1 if missed else 0


sys.exit(all_breaks() if A.all_breaks else main())
