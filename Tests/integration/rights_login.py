"""Who comes in, and whose session it is: cases 1 to 10, 19, 54 and 55."""

import raw
from rights import CLOSED, TAKEOVERS, case, expect_end


@case(1)
def a_wrong_password_with_clean_start_touches_no_session(at):
    at.use("user {ann}\ntopic readwrite {t}/#\n")
    at.come("ann", kept=True).subscribe(f"{at.t}/#", qos=at.qos).close()
    at.tell(f"{at.t}/queued")
    for clean in (True, False):
        assert at.answer("ann", password="wrong", clean=clean) == at.bad_login
    ann = at.come_back("ann")
    assert ann.session_present
    at.tell(f"{at.t}/live")
    assert at.topics(ann) == [f"{at.t}/{name}" for name in (["queued"] if at.qos else []) + ["live"]]


@case(2)
def a_refused_connect_publishes_no_will(at):
    at.use("user {ann}\ntopic readwrite {t}/#\n")
    watch = at.watch()
    will = (f"{at.t}/will", "gone", at.qos, True)
    assert at.answer("ann", password="wrong", will=will) == at.bad_login
    assert at.answer("ann", password=False, will=will) == at.bad_login
    assert at.answer("eve", will=will) == at.bad_login
    assert at.answer(None, will=will) == at.not_authorized
    # The same Will of a client that is let in, so that there is something to see.
    at.come("ann", will=will).close()
    assert watch.message(f"{at.t}/will").payload == b"gone"
    assert watch.seen() == []


@case(3)
def another_users_session_is_neither_resumed_nor_taken_over_nor_wiped(at):
    at.use("user {ann}\ntopic readwrite {t}/#\nuser {ben}\ntopic readwrite {t}/#\n")
    ann = at.come("ann", "same", kept=True).subscribe(f"{at.t}/#", qos=at.qos)

    def try_all():
        for clean in (True, False):
            assert at.answer("ben", "same", clean=clean) == at.not_authorized
            assert at.answer(None, "same", clean=clean, door=at.house.side) == at.not_authorized

    try_all()
    at.tell(f"{at.t}/live")
    assert at.topics(ann) == [f"{at.t}/live"]
    ann.close()
    at.tell(f"{at.t}/queued")
    try_all()
    ann = at.come_back("ann", "same")
    assert ann.session_present and at.topics(ann) == ([f"{at.t}/queued"] if at.qos else [])


@case(4)
def refused_connects_use_up_no_takeovers(at):
    at.use("")
    client = at.come("ann", "same")
    for _ in range(2 * TAKEOVERS):
        assert at.answer("ben", "same") == at.not_authorized
        assert at.answer("ann", "same", password=False) == at.bad_login
    for _ in range(TAKEOVERS):
        before, client = client, at.come("ann", "same")
        before.expect_close(0x8E if at.version == 5 else None)
    assert at.answer("ann", "same") != 0  # now they are used up
    client.ping()


@case(5)
def what_follows_connect_waits_for_its_answer(at):
    at.use("user {ann}\ntopic readwrite {t}/#\n", iterations=3000)
    watch = at.watch()

    def begin(user, password, word):
        client = at.keep(at.door.client())
        client.version = at.version
        login = {"user": at.user(user), "password": password}
        return client.send(
            raw.connect(at.id("c"), at.version, **login), raw.subscribe(1, (f"{at.t}/#", at.qos), version=at.version),
            raw.publish(f"{at.t}/{word}", word, at.qos, 2, retain=True, version=at.version))

    begin("ann", "wrong", "refused").expect_close(at.bad_login)
    for _ in range(at.some(30)):  # closed while the password is checked, or waits
        begin("eve", "wrong", "closed").close()
    client = begin("ann", at.login("ann")["password"], "taken")
    no_room = {4: 3, 5: 0x97}[at.version]
    while (got := client.packet()).type == raw.CONNACK and got.body[1] == no_room:  # those before it still wait
        client = begin("ann", at.login("ann")["password"], "taken")
    assert got.type == raw.CONNACK and got.body[1] == 0
    assert client.expect(raw.SUBACK).body[-1] == at.qos
    assert client.message(f"{at.t}/taken").payload == b"taken"
    assert watch.topics() == [f"{at.t}/taken"]


def credentials(version, name, user, password):
    """A CONNECT with these fields, each as it is."""
    return raw.connect(name, version, user=user, password=password)


@case(6, qos=[0])
def odd_credentials_let_nobody_in(at):
    at.use("")
    user, password = at.user("ann"), at.login("ann")["password"]
    for odd in [
            (user, None), (None, password), ("", password), ("", ""), (user, ""), (user + "\0", password), ("\0", password),
            (b"\xff\xfe", password), (b"\xed\xa0\x80", password), (65_535 * "u", password), (user, 65_535 * b"p"), (user + " ", password),
            (user.upper(), password), (user, password + " "), (user, password + "\0"), (user[:-1], password), ("%u", password)]:
        code = at.outcome(credentials(at.version, at.id("odd"), *odd))
        assert code == CLOSED or code != 0, odd
    assert at.outcome(credentials(at.version, at.id("odd"), user, password)) == 0


@case(7, qos=[0])
def guesses_are_slowed_down_by_user_and_address(at):
    at.use("")
    too_many = {4: 3, 5: 0x9F}[at.version]
    codes = []
    while too_many not in codes:  # ten at once, then one in 6 s
        codes.append(at.answer("ann", password="wrong"))
        assert len(codes) < 1000
    assert codes[:10] == 10 * [at.bad_login] and set(codes[10:]) <= {at.bad_login, too_many}
    assert at.answer("ben") == 0
    assert at.answer("eve", password="wrong") == at.bad_login  # who does not exist is answered alike


# What is wrong with a password file, and what stands in its lines.
WRONG_LINES = {
    "no colon": "eve", "empty user": ":$7$101$AAAA$AAAA", "empty hash": "eve:", "unknown scheme": "eve:$9$101$AAAA$AAAA", "plain text": "eve:secret",
    "cut": "eve:$7$101$c2Fsd", "many iterations": "eve:$7$1000000000$AAAAAAAAAAAAAAAA$" + 86 * "A" + "==", "long": "eve" + 300 * "e",
    "NUL": "eve\0:$7$101$AAAA$AAAA", "argon2id": "eve:$argon2id$v=19$m=47104,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
}


@case(8, versions=[5], qos=[0])
def a_wrong_line_of_the_password_file_changes_nothing(at):
    at.use("user {ann}\ntopic readwrite {t}/#\n")
    ann = at.come("ann")
    good = at.password_file("ann ben eve")
    wrong = WRONG_LINES | {"twice": at.password_file("ann").splitlines()[-1]}
    for number, (what, line) in enumerate(wrong.items()):
        at.house.write(at.house.passwords, good + line + "\n")
        said = at.house.reload()
        assert f"not reloaded: {at.house.passwords}:{good.count(chr(10)) + 1}:" in said, (what, said)
        assert what != "argon2id" or "mosquitto_passwd -H sha512-pbkdf2" in said, said
        assert "secret" not in said.replace(f"{at.user('eve')}'s", ""), said
        assert number % 2 or at.answer("eve") == at.bad_login, what  # not too often
        assert at.answer("ben") == 0, what
    at.write(ann, f"{at.t}/still")
    # What may differ: ends of lines, blank ones, and none at the end.
    for content in (good.replace("\n", "\r\n"), "\n\n" + good, good[:-1], "# the house\n" + good):
        at.house.write(at.house.passwords, content)
        assert "reloaded: " in at.house.reload(), content
        assert at.answer("eve") == 0


@case(10)
def anonymous_clients_come_in_only_where_a_listener_says_so(at):
    at.use("topic read {t}/open\n")
    assert at.answer(None) == at.not_authorized
    assert at.answer("ann", password=False, door=at.house.side) == at.bad_login
    assert at.answer("ann", password="wrong", door=at.house.side) == at.bad_login
    nobody = at.come(None, door=at.house.side)
    assert at.granted(nobody, f"{at.t}/open", f"{at.t}/shut", "$SYS/#") == [True, False, False]
    at.write(nobody, f"{at.t}/open", allowed=False)


@case(19)
def a_user_who_is_removed_is_put_out(at):
    at.use("pattern readwrite {t}/#\n")
    watch = at.watch()
    ann, ben = at.come("ann", will=(f"{at.t}/will", "gone", at.qos, False)), at.come("ben")
    at.write(ann, f"{at.t}/before")
    at.use(users="ben")
    expect_end(ann, at.version)
    assert at.answer("ann") == at.bad_login
    at.write(ben, f"{at.t}/after")
    assert watch.topics() == [f"{at.t}/before", f"{at.t}/after"]  # and no Will
    at.use(users="ann ben")
    assert not at.come_back("ann").session_present


@case(54, versions=[5], qos=[0])
def a_connect_with_thousands_of_properties_is_answered(at):
    at.use("")
    ben = at.come("ben")
    properties = [(raw.USER, ("name", "value"))]
    assert at.answer("ann", props=1000 * properties) == 0
    assert at.answer("ann", props=10_000 * properties) in (0, 0x97, CLOSED)  # more than a newcomer's share of memory
    ben.ping()


@case(55, versions=[5])
def a_will_that_is_delayed_beyond_its_session_fires_at_its_end(at):
    at.use("user {ann}\ntopic write {t}/#\n")
    watch = at.watch()
    will = (f"{at.t}/will", "gone", at.qos, False, [(raw.WILL_DELAY, 0xFFFFFFFF)])
    at.come("ann", "one", will=will, expiry=1).close()
    at.come("ann", "two", will=will).close()  # its session ends with its connection
    assert [watch.message(f"{at.t}/will").payload for _ in range(2)] == 2 * [b"gone"]
    assert watch.seen() == []
