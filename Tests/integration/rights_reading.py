"""What a user may receive: cases 20 to 27."""

import raw
from rights import case

RULES = "user {ann}\ntopic read {t}/open/#\ntopic deny {t}/open/safe/#\nuser {ben}\ntopic read {t}/#\n"


@case(20)
def each_filter_of_a_subscribe_is_judged(at):
    at.use(RULES + "user {ann}\ntopic write {t}/in/#\n")
    ann = at.come("ann")
    rows = {
        f"{at.t}/open/a": True, f"{at.t}/shut/a": False, f"{at.t}/open/#": True, f"{at.t}/open/safe/#": False, f"{at.t}/in/a": False,
        "#": True, "$SYS/#": False, f"{at.t}/+/b": True, f"{at.t}x/#": False, "b/relay": False, f"$share/g/{at.t}/shut/+": False,
        f"$share/g/{at.t}/open/+": True,
    }
    # Each once, so that no shared message goes elsewhere.
    for names in (list(rows), list(rows)[::-1]):
        assert at.granted(ann, *names) == [rows[name] for name in names]
    for word in ("open/a", "shut/a", "open/safe/x", "in/a", "shut/b"):
        at.tell(f"{at.t}/{word}")
    assert set(at.topics(ann)) == {f"{at.t}/open/a"}


@case(21)
def a_shared_message_goes_to_a_member_who_may_read_it(at):
    at.use(RULES + "user {eve}\ntopic read {t}/open/none\n", users="ann ben eve")
    shared = f"$share/g/{at.t}/#"
    members = {name: at.come(name) for name in ("ann", "ben", "eve")}
    for name, member in members.items():
        assert at.granted(member, shared, f"$share/g/{at.t}x/#", "$share/g/$SYS/#") == [True, False, False], name
    sent = [f"{at.t}/{'shut' if number % 2 else 'open'}/{number}" for number in range(12)]
    for topic in sent:
        at.tell(topic)
    came = {name: at.topics(member) for name, member in members.items()}
    assert sorted(came["ann"] + came["ben"]) == sorted(sent) and came["eve"] == []
    assert all("/open/" in topic for topic in came["ann"]) and came["ann"]
    # With nobody left who may read it, it goes to nobody.
    members["ben"].disconnect()
    at.tell(f"{at.t}/shut/last")
    at.tell(f"{at.t}/open/last")
    assert at.topics(members["ann"]) == [f"{at.t}/open/last"] and at.topics(members["eve"]) == []
    # A group without a name, and one without a filter.
    for wrong in ("$share//x", "$share/g/", "$share/g"):
        client = at.come("ben", "wrong")
        client.send(raw.subscribe(1, (wrong, at.qos), version=at.version))
        try:
            assert client.expect(raw.SUBACK).body[-1] >= 0x80, wrong
        except (raw.Closed, AssertionError):
            client.close()


FILTERS = ["#", "+/#", "{t}/#", "{t}/+/+", "{t}/open/+", "+/open/+"]


@case(22)
def a_wide_filter_gets_what_may_be_read_and_no_more(at):
    """Live, retained, from the queue, and sent again."""
    at.use(RULES)
    words = ["open/a", "open/safe/b", "shut/c", "open/d", "open", "open/safe", "shut"]
    readable = {f"{at.t}/{word}" for word in ("open/a", "open/d", "open")}
    for word in words:
        at.tell(f"{at.t}/{word}", "retained", retain=True)
    for number, name in enumerate(FILTERS):
        name, ann = at.fill(name), at.come("ann", f"ann-{number}", kept=True)
        assert at.granted(ann, name) == [True], name
        wanted = {topic for topic in readable if not name.endswith("+") or topic.count("/") == 2}
        assert set(at.got(ann)) == {(topic, "retained") for topic in wanted}, name
        for word in words:
            at.tell(f"{at.t}/{word}", "live")
        assert sorted(at.got(ann)) == sorted((topic, "live") for topic in wanted), name
        if at.qos:
            for word in words:  # taken by the kernel, not acknowledged: to be sent again
                at.tell(f"{at.t}/{word}", "again")
            ann.close()
            for word in words:
                at.tell(f"{at.t}/{word}", "queued")
            ann = at.come_back("ann", f"ann-{number}")
            assert sorted(at.got(ann)) == sorted((topic, what) for topic in wanted for what in ("again", "queued")), name
        ann.disconnect()


@case(23)
def a_denied_resubscription_replays_nothing_and_ends_the_old_one(at):
    for filter_ in (f"{at.t}/#", f"{at.t}/r", f"$share/g/{at.t}/r"):
        at.use("user {ann}\ntopic read {t}/#\n")
        at.tell(f"{at.t}/r", "first", retain=True)
        ann = at.come("ann")
        assert at.granted(ann, filter_) == [True]
        assert len(at.got(ann)) == (0 if "$share" in filter_ else 1)
        at.use("user {ann}\ntopic read {t}/other\n")
        at.tell(f"{at.t}/r", "second", retain=True)
        assert at.granted(ann, filter_) == [filter_.endswith("#")]  # a part of it may still be read
        assert at.got(ann) == []
        at.use("user {ann}\ntopic read other\n")
        assert at.granted(ann, filter_) == [False]
        at.use("user {ann}\ntopic read {t}/#\n")
        at.tell(f"{at.t}/r", "third")
        assert at.got(ann) == [], filter_
        ann.disconnect()


@case(24)
def a_right_that_is_lost_while_its_user_is_away_says_nothing_on_return(at):
    at.use("user {ann}\ntopic read {t}/#\n")
    window = [(raw.RECEIVE_MAXIMUM, 2)] if at.version == 5 else []
    ann = at.come("ann", kept=True, props=window)
    assert at.granted(ann, f"{at.t}/#") == [True]
    for number in range(4):  # some are on their way and never acknowledged
        at.tell(f"{at.t}/flight/{number}")
    if at.qos:
        assert ann.packet().type == raw.PUBLISH
    ann.close()
    for number in range(4):
        at.tell(f"{at.t}/queued/{number}")
    at.use("user {ann}\ntopic read {t}/queued/2\n")
    ann = at.come_back("ann")
    assert ann.session_present
    at.tell(f"{at.t}/live")
    assert at.topics(ann) == ([f"{at.t}/queued/2"] if at.qos else [])
    # What was denied does not come later, either.
    ann.close()
    at.use("user {ann}\ntopic read {t}/#\n")
    ann = at.come_back("ann")
    at.tell(f"{at.t}/live")
    assert at.topics(ann) == [f"{at.t}/live"]


@case(25)
def a_right_that_is_lost_while_its_user_is_there_ends_at_once(at):
    all_, none = "user {ann}\ntopic read {t}/#\n", "user {ann}\ntopic read other\n"
    at.use(all_)
    ann = at.come("ann")
    assert at.granted(ann, f"{at.t}/+", f"{at.t}/#") == [True, True]
    for rules, is_heard in ((all_, True), (none, False), (all_ + "topic deny {t}/live\n", False), (all_, True)):
        at.use(rules)
        at.tell(f"{at.t}/live")
        assert set(at.topics(ann)) == ({f"{at.t}/live"} if is_heard else set())


@case(26)
def system_topics_are_named_or_nobodys(at):
    rows = [  # rules of ann, filter, granted, heard
        ("topic read #", "$SYS/#", False, False), ("topic read #", "#", True, False), ("topic read +/tapline/#", "$SYS/tapline/#", False, False),
        ("topic read +/#", "+/tapline/#", True, False), ("topic read $SYS/#", "$SYS/#", True, True),
        ("topic read $SYS/#", "+/tapline/#", False, False), ("topic read $SYS/#\ntopic deny #", "$SYS/#", True, True),
        ("topic read $SYS/#\ntopic deny $SYS/tapline/clients/#", "$SYS/tapline/clients/#", False, False),
        ("topic read $SYS/#\ntopic deny $SYS/tapline/#", "$SYS/tapline/#", False, False), ("topic deny #", "$SYS/#", False, False),
    ]
    for rules, name, granted, heard in rows:
        at.use(f"user {{ann}}\n{rules}\n")
        ann = at.come("ann")
        assert at.granted(ann, name) == [granted], (rules, name)
        topics = at.topics(ann)
        assert any(topic.startswith("$") for topic in topics) == heard, (rules, name)
        at.write(ann, "$SYS/tapline/mine", retain=True, allowed=False)
        ann.disconnect()
    at.use("user {ann}\ntopic readwrite $SYS/#\n")
    at.write(at.come("ann"), "$SYS/tapline/mine", retain=True, allowed=False)  # whatever the rules say
    assert at.values("$SYS/tapline/mine") == {}


@case(27)
def nothing_remembers_what_was_allowed(at):
    ann, ben, watch = None, None, None
    for number in range(5):
        at.use("user {ann}\ntopic readwrite {t}/#\n" + ("user {ben}\ntopic read {t}/x\n" if number % 2 else ""))
        ann, ben, watch = ann or at.come("ann"), ben or at.come("ben"), watch or at.watch()
        assert at.granted(ben, f"{at.t}/x") == [number % 2 == 1]
        at.write(ann, f"{at.t}/x", str(number))
        assert at.got(ben) == ([(f"{at.t}/x", str(number))] if number % 2 else [])
        at.use("user {ben}\ntopic readwrite {t}/#\n")
        at.write(ann, f"{at.t}/x", "no", allowed=False)
        at.write(ben, f"{at.t}/x", "yes")
        assert [payload for _, payload in watch.seen()] == [str(number), "yes"]
        at.got(ben)
