// Node's http and https with an agent that keeps INFLIGHT connections.
"use strict";

const { URL: url, COUNT, INFLIGHT = "1" } = process.env;
const http = require(url.startsWith("https:") ? "https" : "http");
const meter = require("./node_meter.js");
const count = Number(COUNT);
const agent = new http.Agent({ keepAlive: true, maxSockets: Number(INFLIGHT) });

let started = 0;
let buttons = 0;

function get() {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent, headers: { Authorization: "key" } }, (answer) => {
      if (answer.statusCode !== 200) reject(new Error(answer.statusCode));
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve(JSON.parse(Buffer.concat(parts).toString())));
    });
    request.on("error", reject);
  });
}

async function work() {
  while (started < count) {
    started++;
    const task = await get();
    buttons += task.buttons.length;
    meter.ended();
  }
}

Promise.all(Array.from({ length: Number(INFLIGHT) }, work)).then(() => {
  meter.report(buttons);
  agent.destroy();
});
