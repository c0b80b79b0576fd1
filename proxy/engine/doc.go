// SPDX-License-Identifier: Apache-2.0

// Package engine is how a connection waits. One Loop per core owns an epoll
// instance, the connections registered with it, their timers and the tasks
// that serve them. A Task is a coroutine: code on it is written blocking-style,
// and where a read, write, dial or sleep would wait it yields to its loop,
// which goes on with another task on the same thread. So all that belongs to a
// loop is touched by one thread at a time and needs no lock, a switch costs
// less than a hundred nanoseconds, and a connection that is idle holds neither
// a task nor a buffer.
//
// Datagrams need no tasks: a [PacketSocket] is read in batches, each datagram is
// handled on the loop at once, and what is sent meanwhile goes out with the rest of
// the batch.
//
// Rules for code that runs on a task:
//
//   - It may call everything here that takes a Task or belongs to its loop.
//   - It must not block in any other way. Foreign code that blocks (a client
//     library, a file, DNS) runs through [Task.Foreign]. A loop that stalls all
//     the same is noticed, counted and named by the Watchdog.
//   - What belongs to another loop is reached by [Loop.Post] only.
//
// The package knows no protocol and no configuration.
package engine
