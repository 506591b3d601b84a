"""Patterns, the order of rules, and files that change under load: cases 28 to 31."""

import os
import signal

import raw
from rights import case
from test_users import password_file


def literal_names():
    return ["a+b", "+", "#", "a/b", "a#", "%u", "%c", "$SYS", "../x", "ä", "x" * 60]


@case(28)
def a_value_in_a_pattern_is_literal(at):
    """An identifier is the text of one level, or worth nothing: it is never a wildcard, and brings no level along."""
    at.use("pattern readwrite {t}/%c/x\n")
    at.tell(f"{at.t}/other/x", "secret", retain=True)
    watch = at.watch(f"{at.t}/+/x", f"{at.t}/+/+/x")
    assert watch.client.message().payload == b"secret"
    for name in literal_names():
        login = at.login("ann")
        client = at.keep(at.door.client()).connect(name, at.version, **login)
        for topic in (f"{at.t}/other/x", f"{at.t}/x", f"{at.t}/a/b", f"{at.t}/{at.user('ann')}/x"):
            at.write(client, topic, "no", allowed=False)
        assert at.granted(client, f"{at.t}/other/x") == [False], name
        at.granted(client, f"{at.t}/+/x", f"{at.t}/#", "#")
        assert at.got(client) == [], name
        plain = not any(letter in name for letter in "+#/")
        if plain:
            at.write(client, f"{at.t}/{name}/x", name)
            assert watch.client.message().payload == name.encode()
        client.disconnect()
    assert watch.seen() == []
    code = at.outcome(raw.connect("i" * 65_535, at.version, **at.login("ann")))
    assert code != 0
    # An identifier that the broker assigns counts as any other.
    if at.version == 5:
        client = at.keep(at.door.client())
        client.version = 5
        client.send(raw.connect("", 5, **at.login("ann")))
        body = client.expect(raw.CONNACK).body
        assigned = dict(raw.read_properties(body, 2)[0])[0x12]
        at.write(client, f"{at.t}/{assigned}/x", "assigned")
        at.write(client, f"{at.t}//x", "no", allowed=False)
        assert watch.topics() == [f"{at.t}/{assigned}/x"]


@case(28)
def a_users_name_in_a_pattern_is_literal(at):
    """Those of the names that a password file may hold."""
    names = [f"{name}{at.number}" for name in ("%c", "%u", "$SYS", "ä", "two words")]
    at.use("pattern readwrite {t}/%u/x\n", more=password_file({name: "p" for name in names}))
    watch = at.watch(f"{at.t}/+/x")
    for name in names:
        client = at.keep(at.door.client()).connect(f"id-{at.number}", at.version, user=name, password="p")
        for topic in (f"{at.t}/other/x", f"{at.t}/id-{at.number}/x", f"{at.t}/{at.user('ann')}/x"):
            at.write(client, topic, "no", allowed=False)
        at.write(client, f"{at.t}/{name}/x", name)
        assert watch.seen() == [(f"{at.t}/{name}/x", name)]
        client.disconnect()
    # A name that would be a wildcard or several levels; a line that begins with # is a comment.
    for name in ("+", "a#", "#", "a/b"):
        at.use(users="ann", more=password_file({name: "p"}))
        if name == "#":
            assert at.outcome(raw.connect(at.id("id"), at.version, user=name, password="p")) == at.bad_login
        else:
            client = at.keep(at.door.client()).connect(f"id-{at.number}", at.version, user=name, password="p")
            at.write(client, f"{at.t}/other/x", "no", allowed=False)
            at.write(client, f"{at.t}/a/b/x", "no", allowed=False)
            assert at.granted(client, f"{at.t}/other/x") == [False]
            client.disconnect()
    assert watch.seen() == []


@case(29)
def the_order_of_rules_counts_for_nothing(at):
    rules = ["topic readwrite {t}/#", "topic deny {t}/secret/#", "topic readwrite {t}/secret/open"]
    for order in (rules, rules[::-1], rules[1:] + rules[:1], [rule + "  " for rule in rules], [rule + "\r" for rule in rules]):
        at.use("user {ann}\n" + "\n".join(order) + "\n")
        watch, ann = at.watch(), at.come("ann")
        at.write(ann, f"{at.t}/a")
        at.write(ann, f"{at.t}/secret/open", allowed=False)
        at.write(ann, f"{at.t}/secret", allowed=False)
        assert watch.topics() == [f"{at.t}/a"], order
        ann.disconnect()
    # Users whose names are words of the file.
    words = ["topic", "user", "pattern", "deny", "read", "#x"]
    text = "".join(f"user {word}\ntopic readwrite {{t}}/{word}\n" for word in words[:-1])
    at.use(text, more=password_file({word: "p" for word in words[:-1]}))
    watch = at.watch()
    for word in words[:-1]:
        client = at.keep(at.door.client()).connect(f"id-{at.number}", at.version, user=word, password="p")
        at.write(client, f"{at.t}/{word}")
        at.write(client, f"{at.t}/other", allowed=False)
        assert watch.topics() == [f"{at.t}/{word}"]
        client.disconnect()


@case(30, versions=[5], qos=[1])
def files_that_cannot_be_read_leave_the_old_rules(at):
    at.use("user {ann}\ntopic write {t}/open\n")
    watch, ann = at.watch(), at.come("ann")
    for path in (at.house.acl, at.house.passwords):
        good = path.read_bytes()
        for break_it, repair in [
                (path.unlink, lambda: None), (lambda: (path.unlink(), path.mkdir()), path.rmdir),
                (lambda: (path.unlink(), path.symlink_to(at.house.folder / "nowhere")), path.unlink),
                (lambda: (path.unlink(), os.mkfifo(path)), path.unlink),
                (lambda: at.house.write(path, good[:-3] + b"\0"), path.unlink)]:
            break_it()
            said = at.house.reload()
            assert "stay as they were" in said or "not reloaded: " in said, said
            at.write(ann, f"{at.t}/open")
            at.write(ann, f"{at.t}/shut", allowed=False)
            assert at.answer("ann", "other") == 0 and at.answer("ann", password="wrong") == at.bad_login
            assert watch.topics() == [f"{at.t}/open"]
            repair()
            at.house.write(path, good)
        assert "reloaded: " in at.house.reload()


@case(31)
def reloads_under_load_leave_no_gap(at):
    rules = "user {ann}\ntopic write {t}/open\nuser {ben}\ntopic read {t}/open\n"
    at.use(rules)
    watch, ann, ben = at.watch(), at.come("ann"), at.come("ben")
    assert at.granted(ben, f"{at.t}/#") == [True]
    count = at.some(30)
    for number in range(count):
        at.house.daemon.process.send_signal(signal.SIGHUP)
        for topic in ("shut", "open", "shut"):
            at.write(ann, f"{at.t}/{topic}", str(number), allowed=topic == "open")
        at.tell(f"{at.t}/shut", "admin's")
    seen = watch.seen()
    assert [each for each in seen if each[1] != "admin's"] == [(f"{at.t}/open", str(number)) for number in range(count)]
    assert at.got(ben) == [(f"{at.t}/open", str(number)) for number in range(count)]
    at.use(rules)  # the last of them has been carried out
