#!/usr/bin/env node
// Asks a resolverd daemon over its Unix socket, with Node's own modules alone.
//
// A kernel copies the class. Every call gives the daemon's JSON, or throws a Problem with the problem document, whose "hint" says
// what to do next.
//
//     node client.js resolve lcod://tooling/array/pluck@^0.1 --native lcod://contract/
//     node client.js lookup lcod://tooling/array/pluck lcod://tooling/array/append
//     node client.js check lcp.lock       exit status 4 where it does not hold
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");

class Problem extends Error {
  constructor(document) {
    super(`${document.detail} [${document.code} ${document.reason}]`);
    this.document = document;
  }
}

class Resolverd {
  // A daemon that says nothing for `timeout` milliseconds is not waited for.
  constructor(socketPath = defaultSocket(), timeout = 150000) {
    this.socketPath = socketPath;
    this.timeout = timeout;
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  }

  async ask(method, target, body) {
    const data = body === undefined ? undefined : JSON.stringify(body);
    try {
      return await this.once(method, target, data);
    } catch (error) {
      // A daemon closes what is idle, and starts again: what it has not answered is asked once more.
      if (!error.wasOpen || !["ECONNRESET", "EPIPE"].includes(error.code)) throw error;
      return this.once(method, target, data);
    }
  }

  once(method, target, data) {
    const headers = data === undefined ? {} : { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(data) };
    const options = { socketPath: this.socketPath, agent: this.agent, method, path: target, headers, timeout: this.timeout };
    return new Promise((resolve, reject) => {
      const request = http.request(options, (answer) => {
        const pieces = [];
        answer.on("data", (piece) => pieces.push(piece));
        answer.on("error", reject);
        answer.on("end", () => {
          try {
            const document = JSON.parse(Buffer.concat(pieces).toString("utf8"));
            answer.statusCode >= 400 ? reject(new Problem(document)) : resolve(document);
          } catch (error) {
            reject(error);
          }
        });
      });
      request.on("timeout", () => request.destroy(new Error(`the daemon says nothing for ${this.timeout} ms`)));
      request.on("error", (error) => reject(Object.assign(error, { wasOpen: request.reusedSocket })));
      request.end(data);
    });
  }

  // Chooses versions for all references together, with everything that they require.
  resolve(references, natives = []) {
    return this.ask("POST", "/v1/resolve", { requests: references, natives });
  }

  // Answers each reference on its own: a release, or a problem with "code".
  lookup(references) {
    return this.ask("POST", "/v1/lookup", { ids: references });
  }

  // Gives the lock of a solution; its "text" is the file.
  lock(references, natives = []) {
    return this.ask("POST", "/v1/lock", { resolve: { requests: references, natives } });
  }

  // Says what of a lock no longer holds.
  check(text) {
    return this.ask("POST", "/v1/lock/check", { lock: text });
  }

  close() {
    this.agent.destroy();
  }
}

function defaultSocket() {
  const { RESOLVERD_SOCKET, XDG_RUNTIME_DIR, XDG_STATE_HOME } = process.env;
  if (RESOLVERD_SOCKET) return RESOLVERD_SOCKET;
  if (XDG_RUNTIME_DIR) return path.join(XDG_RUNTIME_DIR, "resolverd", "resolverd.sock");
  return path.join(XDG_STATE_HOME || path.join(os.homedir(), ".local", "state"), "resolverd", "run", "resolverd.sock");
}

async function main([verb, ...rest]) {
  const natives = rest.filter((_, at) => rest[at - 1] === "--native");
  const references = rest.filter((word, at) => word !== "--native" && rest[at - 1] !== "--native");
  const daemon = new Resolverd();
  try {
    switch (verb) {
      case "resolve":
        return await daemon.resolve(references, natives);
      case "lookup":
        return await daemon.lookup(references);
      case "lock":
        return await daemon.lock(references, natives);
      case "check":
        return await daemon.check(fs.readFileSync(references[0], "utf8"));
      default:
        throw new Error("a verb is missing: resolve, lookup, lock or check");
    }
  } finally {
    daemon.close();
  }
}

if (require.main === module) {
  main(process.argv.slice(2)).then(
    (answer) => {
      process.stdout.write(`${JSON.stringify(answer)}\n`);
      if (answer.holds === false) process.exitCode = 4;
    },
    (error) => {
      const hint = error instanceof Problem ? error.document.hint || "none" : "resolverd serve";
      process.stderr.write(`${error.message}\nhint: ${hint}\n`);
      process.exitCode = 1;
    },
  );
}

module.exports = { Problem, Resolverd };
