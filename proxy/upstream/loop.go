// SPDX-License-Identifier: Apache-2.0

package upstream

// Loop is what a worker needs of an event loop of the engine.
type Loop interface {
	// ID counts the loops from 0.
	ID() int
	// Post runs f on the loop, soon, in the order of the calls. It may be called from
	// any goroutine and never blocks. A loop that has ended drops f.
	Post(f func())
}
