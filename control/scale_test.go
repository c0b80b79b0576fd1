// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/local"
	"weir.dev/weir/control/source"
	"weir.dev/weir/xds"
)

// BenchmarkChange changes one route among many, as far as the snapshot that has it, and tells the time of the CPU, which
// other processes disturb less.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := controller(b, n)
			key := source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "default", Name: "r7"}}
			b.ReportAllocs()
			before := spent(b)
			for i := 0; b.Loop(); i++ {
				o := c.Translator.View().Get(key).DeepCopyObject().(*gwapiv1.HTTPRoute)
				o.Spec.Rules[0].BackendRefs[0].Name = gwapiv1.ObjectName(fmt.Sprintf("s%d", 8+i%2))
				c.Step([]source.Change{{Key: key, Object: o}})
			}
			b.ReportMetric(float64((spent(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

// BenchmarkNewRoute adds a route with a host of its own to many, and takes it away.
func BenchmarkNewRoute(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := controller(b, n)
			key := source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "default", Name: "r7"}}
			o := c.Translator.View().Get(key)
			b.ReportAllocs()
			before := spent(b)
			for b.Loop() {
				c.Step([]source.Change{{Key: key}})
				c.Step([]source.Change{{Key: key, Object: o}})
			}
			b.ReportMetric(float64((spent(b)-before).Microseconds())/float64(b.N)/2, "cpu-us/change")
		})
	}
}

// controller has n routes, with a host and a Service each, served by nothing.
func controller(b *testing.B, n int) *control.Controller {
	b.Helper()
	all := controltest.Objects(b, edge+routes(n))
	r := local.New(local.Options{Apply: func(*xds.Snapshot) []xds.Problem { return nil }, Reached: "127.0.0.1"})
	c := &control.Controller{Queue: &source.Queue{}, Translator: control.NewTranslator(control.Options{}), Runner: r}
	c.Step(all)
	return c
}

// spent is the time of the CPU that the process has had.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
