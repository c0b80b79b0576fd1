// SPDX-License-Identifier: Apache-2.0

package overload

// A Monitor measures one resource.
type Monitor interface {
	// Pressure returns how much of the resource is in use, as a share of what there is
	// of it. It is called again and again by one goroutine of its own, and may block for
	// a while: others are measured meanwhile.
	Pressure() (float64, error)
}

// A Limiter is a monitor that limits what it measures, too.
type Limiter interface {
	Monitor
	// MaxConnections is how many downstream connections the process is to have at most.
	MaxConnections() int64
}

// A Maker makes a monitor. It is what the configuration of one compiles to.
type Maker func(s *Sources) (Monitor, error)

// Sources are what monitors measure by.
type Sources struct {
	// Runtime are values that change while the process runs.
	Runtime interface {
		Int(key string) (value int64, ok bool)
	}
	// Connections counts the downstream connections of the process.
	Connections func() int64
}
