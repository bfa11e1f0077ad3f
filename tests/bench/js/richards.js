// Martin Richards' simulation of an operating system's kernel: an idle task, a worker, two handlers and two devices, which pass
// packets under a scheduler of fixed priorities. argument: number of simulations.
'use strict';
const n = Number((globalThis.scriptArgs ?? process.argv.slice(1))[1]);

const IDLE = 0, WORKER = 1, HANDLER_A = 2, HANDLER_B = 3, DEVICE_A = 4, DEVICE_B = 5, TASKS = 6;
const TO_DEVICE = 0, TO_WORKER = 1;
const HELD = 4, WAITING = 2, PENDING = 1;      // a task's state, as bits
const DATA = 4;                                // bytes in a packet

class Packet {
  constructor(next, id, kind) {
    this.next = next;
    this.id = id;
    this.kind = kind;
    this.at = 0;
    this.data = new Array(DATA).fill(0);
  }
  // Behind the last packet of `queue`; returns the queue.
  appendTo(queue) {
    this.next = null;
    if (queue === null) return this;
    let last = queue;
    while (last.next !== null) last = last.next;
    last.next = this;
    return queue;
  }
}

class Control {
  constructor(next, id, priority, queue, task, state) {
    this.next = next;
    this.id = id;
    this.priority = priority;
    this.queue = queue;
    this.task = task;
    this.state = state;
  }
  runnable() {
    return (this.state & HELD) === 0 && this.state !== WAITING;
  }
  run() {
    let packet = null;
    if (this.state === (WAITING | PENDING)) {
      packet = this.queue;
      this.queue = packet.next;
      this.state = this.queue === null ? 0 : PENDING;
    }
    return this.task.run(packet);
  }
  // Takes a packet; returns who should run next.
  accept(packet, current) {
    if (this.queue === null) {
      this.queue = packet;
      this.state |= PENDING;
      if (this.priority > current.priority) return this;
    } else {
      this.queue = packet.appendTo(this.queue);
    }
    return current;
  }
}

class Scheduler {
  constructor() {
    this.queued = 0;
    this.held = 0;
    this.table = new Array(TASKS).fill(null);
    this.list = null;
    this.current = null;
    this.id = -1;
  }
  add(id, priority, queue, task, state) {
    this.list = this.table[id] = new Control(this.list, id, priority, queue, task, state);
  }
  schedule() {
    this.current = this.list;
    while (this.current !== null) {
      if (this.current.runnable()) {
        this.id = this.current.id;
        this.current = this.current.run();
      } else {
        this.current = this.current.next;
      }
    }
  }
  release(id) {
    const control = this.table[id];
    if (control === null) return control;
    control.state &= ~HELD;
    return control.priority > this.current.priority ? control : this.current;
  }
  hold() {
    this.held++;
    this.current.state |= HELD;
    return this.current.next;
  }
  wait() {
    this.current.state |= WAITING;
    return this.current;
  }
  send(packet) {
    const control = this.table[packet.id];
    if (control === null) return control;
    this.queued++;
    packet.next = null;
    packet.id = this.id;
    return control.accept(packet, this.current);
  }
}

class Idle {
  constructor(scheduler, seed, count) {
    this.scheduler = scheduler;
    this.seed = seed;
    this.count = count;
  }
  run() {
    if (--this.count === 0) return this.scheduler.hold();
    if ((this.seed & 1) === 0) {
      this.seed >>= 1;
      return this.scheduler.release(DEVICE_A);
    }
    this.seed = (this.seed >> 1) ^ 0xd008;
    return this.scheduler.release(DEVICE_B);
  }
}

class Device {
  constructor(scheduler) {
    this.scheduler = scheduler;
    this.kept = null;
  }
  run(packet) {
    if (packet !== null) {
      this.kept = packet;
      return this.scheduler.hold();
    }
    if (this.kept === null) return this.scheduler.wait();
    const kept = this.kept;
    this.kept = null;
    return this.scheduler.send(kept);
  }
}

class Worker {
  constructor(scheduler) {
    this.scheduler = scheduler;
    this.to = HANDLER_A;
    this.letter = 0;
  }
  run(packet) {
    if (packet === null) return this.scheduler.wait();
    this.to = this.to === HANDLER_A ? HANDLER_B : HANDLER_A;
    packet.id = this.to;
    packet.at = 0;
    for (let i = 0; i < DATA; i++) {
      this.letter = this.letter % 26 + 1;
      packet.data[i] = this.letter;
    }
    return this.scheduler.send(packet);
  }
}

class Handler {
  constructor(scheduler) {
    this.scheduler = scheduler;
    this.work = null;
    this.free = null;
  }
  run(packet) {
    if (packet !== null) {
      if (packet.kind === TO_WORKER) this.work = packet.appendTo(this.work);
      else this.free = packet.appendTo(this.free);
    }
    const work = this.work;
    if (work !== null) {
      if (work.at >= DATA) {
        this.work = work.next;
        return this.scheduler.send(work);
      }
      const free = this.free;
      if (free !== null) {
        this.free = free.next;
        free.at = work.data[work.at++];
        return this.scheduler.send(free);
      }
    }
    return this.scheduler.wait();
  }
}

const packets = (id, kind, count) => {
  let queue = null;
  for (let i = 0; i < count; i++) queue = new Packet(queue, id, kind);
  return queue;
};

let queued = 0, held = 0;
for (let round = 0; round < n; round++) {
  const scheduler = new Scheduler();
  scheduler.add(IDLE, 0, null, new Idle(scheduler, 1, 1000), 0);
  scheduler.add(WORKER, 1000, packets(WORKER, TO_WORKER, 2), new Worker(scheduler), WAITING | PENDING);
  scheduler.add(HANDLER_A, 2000, packets(DEVICE_A, TO_DEVICE, 3), new Handler(scheduler), WAITING | PENDING);
  scheduler.add(HANDLER_B, 3000, packets(DEVICE_B, TO_DEVICE, 3), new Handler(scheduler), WAITING | PENDING);
  scheduler.add(DEVICE_A, 4000, null, new Device(scheduler), WAITING);
  scheduler.add(DEVICE_B, 5000, null, new Device(scheduler), WAITING);
  scheduler.schedule();
  queued += scheduler.queued;
  held += scheduler.held;
}
console.log(queued / n, held / n);
