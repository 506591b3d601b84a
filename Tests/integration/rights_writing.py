"""What a user may publish: cases 11 to 18."""

import raw
from rights import case

RULES = "user {ann}\ntopic write {t}/open/#\nuser {ben}\ntopic write {t}/#\n"


@case(11)
def an_acl_without_a_rule_denies_everything(at):
    at.use("")
    for content in ("", "\n\n", "# nothing\n# topic readwrite #\n"):
        at.house.write(at.house.acl, content)
        assert "reloaded: " in at.house.reload()
        for user in ("ann", "admin"):
            client = at.come(user)
            assert at.granted(client, "#", f"{at.t}/a", "$SYS/#") == [False, False, False]
            at.write(client, f"{at.t}/a", retain=True, allowed=False)
    # A file that is wrong in one line leaves the rules that were.
    at.use(RULES)
    for line in ("topics {t}/#", "topic write {t}/#/x", "user", "topic", "pattern read x#", "topic read a\0b"):
        at.house.write(at.house.acl, at.fill("user {ann}\ntopic write {t}/#\n" + line + "\n"))
        said = at.house.reload()
        assert f"not reloaded: {at.house.acl}:3:" in said, (line, said)
    watch = at.watch()
    ann = at.come("ann")
    at.write(ann, f"{at.t}/a", allowed=False)
    at.write(ann, f"{at.t}/open/a")
    assert watch.topics() == [f"{at.t}/open/a"]
    assert at.values(f"{at.t}/#") == {}


@case(12)
def a_will_needs_its_right_at_connect(at):
    at.use(RULES + "topic write b/#\n")
    watch = at.watch("b/+/set", "b/relay", f"{at.t}/#")
    assert watch.message("b/relay").payload == b"OFF"
    there = at.come("ann", "same")
    for topic in (f"{at.t}/shut", "$SYS/broker/uptime", "$SYS/x", "b/relay/set", f"{at.t}/openx"):
        for retain in (False, True):
            assert at.answer("ann", "same", will=(topic, "ON", at.qos, retain)) == at.not_authorized, topic
    there.ping()
    assert watch.topics() == []


def causes(version):
    """How a Will fires, and the options of its CONNECT; 3.1.1 has no delay."""
    kinds = {"loss": {}, "takeover": {}}
    if version == 5:
        kinds |= {"delay": {"delay": 1, "expiry": 600}, "session end": {"delay": 1000, "expiry": 1}, "clean start": {"delay": 1000, "expiry": 600}}
    return kinds


@case(12)
def a_will_needs_its_right_when_it_fires(at):
    for number, (cause, options) in enumerate(causes(at.version).items()):
        at.use(RULES)
        watch = at.watch(f"{at.t}/+/{number}")
        options = dict(options)
        delay = options.pop("delay", 0)

        def begin(user, topic, number=number, delay=delay, options=options):
            will = (topic, cause, at.qos, True, [(raw.WILL_DELAY, delay)] if delay else ())
            return at.come(user, f"{user}-{number}", will=will, **options)

        def fire(user, client, number=number, cause=cause):
            if cause != "takeover":
                client.close()
            if cause in ("takeover", "clean start"):
                at.come(user, f"{user}-{number}")

        ann, ben = begin("ann", f"{at.t}/open/{number}"), begin("ben", f"{at.t}/mine/{number}")
        at.use("user {ann}\ntopic write {t}/other\nuser {ben}\ntopic write {t}/#\n")
        fire("ann", ann)
        fire("ben", ben)  # after the other one, and with its right
        assert watch.message(f"{at.t}/mine/{number}").payload == cause.encode()
        assert watch.topics() == [], cause
        assert at.values(f"{at.t}/open/#") == {}, cause


@case(13, versions=[5])
def an_alias_has_no_right_of_its_own(at):
    at.use(RULES)
    watch, ann = at.watch(), at.come("ann")

    def write(topic, number, allowed):
        at.write(ann, topic, allowed=allowed, props=[(raw.TOPIC_ALIAS, number)])

    write(f"{at.t}/shut", 1, False)
    write("", 1, False)  # learnt by a PUBLISH that was refused
    write(f"{at.t}/open/a", 2, True)
    write("", 2, True)
    write(f"{at.t}/shut", 2, False)
    write("", 2, False)
    write(f"{at.t}/open/b", 3, True)
    at.use("")
    write("", 3, False)  # learnt before the right was lost
    at.use(RULES)
    write("", 3, True)
    assert watch.topics() == 2 * [f"{at.t}/open/a"] + 2 * [f"{at.t}/open/b"]


@case(14)
def a_retained_message_is_set_replaced_and_cleared_with_the_right_only(at):
    at.use(RULES)
    at.tell(f"{at.t}/shut/r", "admin's", retain=True)
    watch, ann = at.watch(), at.come("ann")
    assert watch.message(f"{at.t}/shut/r").retain
    for payload in ("ann's", ""):
        at.write(ann, f"{at.t}/shut/r", payload, retain=True, allowed=False)
    at.write(ann, f"{at.t}/shut/new", retain=True, allowed=False)
    assert watch.seen() == []
    at.write(ann, f"{at.t}/open/r", "first", retain=True)
    at.write(ann, f"{at.t}/open/r", "second", retain=True)
    assert at.values(f"{at.t}/#") == {f"{at.t}/shut/r": "admin's", f"{at.t}/open/r": "second"}
    # Who has lost the right can neither replace nor clear it; it stays for those who may read it.
    at.use("user {ben}\ntopic read {t}/#\n")
    for payload in ("third", ""):
        at.write(ann, f"{at.t}/open/r", payload, retain=True, allowed=False)
    ben = at.come("ben")
    assert at.granted(ben, f"{at.t}/open/#") == [True]
    assert at.got(ben) == [(f"{at.t}/open/r", "second")]
    at.use(RULES)
    at.write(ann, f"{at.t}/open/r", "", retain=True)
    assert at.values(f"{at.t}/#") == {f"{at.t}/shut/r": "admin's"}


@case(15, qos=[2])
def qos_2_is_judged_at_publish_and_once(at):
    at.use(RULES)
    watch, ann = at.watch(), at.come("ann")

    def publish(topic, number, duplicate=False):
        """PUBREC's reason."""
        ann.send(raw.publish(topic, str(number), 2, number, version=at.version, duplicate=duplicate))
        body = ann.expect(raw.PUBREC).body
        return body[2] if len(body) > 2 else 0

    def release(number):
        """PUBCOMP's reason."""
        ann.send(raw.ack(raw.PUBREL, number))
        body = ann.expect(raw.PUBCOMP).body
        return body[2] if len(body) > 2 else 0

    refused = 0x87 if at.version == 5 else 0
    for duplicate in (False, True):
        assert publish(f"{at.t}/shut", 1, duplicate) == refused
    assert release(1) == (0x92 if at.version == 5 else 0)
    # What was taken while it was allowed is finished, and once.
    assert publish(f"{at.t}/open/a", 2) == 0
    at.use("")
    assert publish(f"{at.t}/open/a", 2, duplicate=True) == 0
    assert release(2) == 0
    assert publish(f"{at.t}/open/b", 3) == refused
    at.use(RULES)
    assert watch.seen() == [(f"{at.t}/open/a", "2")]


COMMANDS = {"b/relay/set": "ON", "b/relay/pulse": "60000", "b/water/total/set": "7", "b/relay/get": ""}


@case(16)
def no_line_moves_without_the_right(at):
    at.use("user {ann}\ntopic read b/#\ntopic write {t}/#\n")
    at.tell("b/relay/set", "OFF")
    watch, ann = at.watch("b/relay", "b/water/total", f"{at.t}/answer"), at.come("ann")
    before = {}
    while len(before) < 2:
        message = watch.client.message()
        before[message.topic] = message.payload
    assert before["b/relay"] == b"OFF" and float(before["b/water/total"]) != 7
    for number, (topic, payload) in enumerate(COMMANDS.items(), start=1):
        for retain in (False, True):
            at.write(ann, topic, payload, retain=retain, allowed=False)
        assert at.answer("ann", "other", will=(topic, payload, at.qos, False)) == at.not_authorized
        if at.version == 5:
            for name in (topic, ""):
                at.write(ann, name, payload, allowed=False, props=[(raw.TOPIC_ALIAS, number), (0x08, f"{at.t}/answer")])
    assert watch.seen() == []
    assert at.values("b/+/set") | at.values("b/+/pulse") | at.values("b/+/+/set") == {}
    # The same with the right.
    at.use("user {ann}\ntopic write b/relay/set\n")
    at.write(ann, "b/relay/set", "ON")
    assert watch.message("b/relay").payload == b"ON"
    at.write(ann, "b/relay/pulse", "1", allowed=False)
    at.tell("b/relay/set", "OFF")
    assert watch.message("b/relay").payload == b"OFF"


@case(17)
def a_rule_is_set_off_by_whoever_may_write_what_it_looks_at(at):
    at.use("user {ann}\ntopic write wish/{t}/open\ntopic write b/lamp\n")
    watch, ann = at.watch("echo", "b/lamp"), at.come("ann")
    lamp = watch.message("b/lamp").payload
    for topic, payload in ((f"wish/{at.t}/shut", "no"), ("wish/light", "now"), ("echo", "no")):
        at.write(ann, topic, payload, allowed=False)
    at.write(ann, f"wish/{at.t}/open", f"yes {at.t}")
    # The rule publishes with the board's right, and what it publishes is judged for each reader.
    seen = [each for each in watch.seen() if each[1] not in ("no", "now")]
    assert seen[-1] == ("echo", f"yes {at.t}") and not [each for each in seen if each[0] == "b/lamp"]
    at.use("user {ann}\ntopic write wish/#\n")
    at.write(ann, "wish/light", "now")
    assert watch.message("b/lamp").payload != lamp
    eve = at.come("ben")
    assert at.granted(eve, "echo") == [False]


@case(18, versions=[5])
def an_answer_goes_only_where_its_asker_may_write(at):
    at.use("user {ann}\ntopic write b/relay/get\ntopic write b/relay/set\ntopic write {t}/open\n")
    watch, ann = at.watch(f"{at.t}/#", "$SYS/never"), at.come("ann")
    for topic, payload in (("b/relay/get", ""), ("b/relay/set", "OFF")):
        for response in (f"{at.t}/shut", f"{at.t}/open", "$SYS/never", "b/lamp/set"):
            ann.publish(topic, payload, qos=at.qos, props=[(0x08, response)])
            ann.ping()
        answer = watch.message(f"{at.t}/open")
        assert b'"ok":true' in answer.payload, answer
        assert watch.topics() == []
