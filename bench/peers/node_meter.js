// What a Node process has used since it had done WARM fetches: CPU of all its threads, and time. V8
// compiles for thousands of them, on threads of its own and never twice alike: the difference of two
// processes, which is what others are measured by, would be mostly that.
"use strict";

const warm = Number(process.env.WARM || 0);

function now() {
  const { user, system } = process.cpuUsage();
  return { wall: performance.now() / 1e3, cpu: (user + system) / 1e6 };
}

let before = now();
let done = 0;

// After each fetch. Those that fly when all is warm are partly paid for: the peer has that.
exports.ended = () => {
  if (++done === warm) before = now();
};

exports.report = (buttons) => {
  const { wall, cpu } = now();
  console.log("since", (wall - before.wall).toFixed(6), (cpu - before.cpu).toFixed(6));
  console.log("done", done, buttons);
};
