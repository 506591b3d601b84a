// node-mqtt as a sender or a receiver: node node_client.js send|receive URL VERSION TOPIC QOS COUNT PATIENCE_MS
// A sender reads its payloads line by line and ends when all are acknowledged; a receiver says `subscribed`, then prints
// each payload on a line and ends after COUNT.
"use strict";
const mqtt = require("mqtt");
const [role, url, version, topic, qos, count, patience] = process.argv.slice(2);
const client = mqtt.connect(url, {
  protocolVersion: version === "5" ? 5 : 4,
  clientId: `node-${role}-${version}`,
  connectTimeout: Number(patience),
});
client.on("error", (error) => {
  console.error(String(error));
  process.exit(1);
});

if (role === "receive") {
  let missing = Number(count);
  client.on("message", (_, payload) => {
    console.log(payload.toString());
    missing -= 1;
    if (missing === 0) client.end();
  });
  client.on("connect", () => {
    client.subscribe(topic, { qos: Number(qos) }, (error) => {
      if (error) throw error;
      console.log("subscribed");
    });
  });
} else {
  const payloads = require("fs").readFileSync(0, "utf8").split("\n").slice(0, -1);
  let next = 0;
  const sendNext = (error) => {
    if (error) throw error;
    if (next === payloads.length) return client.end();
    client.publish(topic, payloads[next++], { qos: Number(qos) }, sendNext);
  };
  client.on("connect", () => sendNext());
}
