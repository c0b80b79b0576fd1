// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/wire"
)

// after lets time pass in a bubble of synctest, and all that is due in it happen.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// A resource whose TTL is over goes, whether the server is there or not; each time that
// it is told, or a heartbeat of it, the TTL begins anew.
func TestTTL(t *testing.T) {
	for _, delta := range []bool{false, true} {
		t.Run(fmt.Sprint("delta ", delta), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				more := make(chan *discoveryv3.Resource)
				s := newServer(t, func(c *call) error {
					for c.number == 1 {
						select {
						case r := <-more:
							var err error
							if delta {
								err = c.SendMsg(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: clusterURL, Nonce: "n", Resources: []*discoveryv3.Resource{r}})
							} else {
								err = c.say("1", pack(t, r), cluster(t, "for good"))
							}
							if err != nil {
								return err
							}
						case <-c.Context().Done():
							return nil
						}
					}
					<-c.Context().Done()
					return nil
				})
				kind := corev3.ApiConfigSource_GRPC
				if delta {
					kind = corev3.ApiConfigSource_DELTA_GRPC
				}
				tg := newTarget()
				s.client(tg, grpcAPI(kind)).Subscribe("ads", aggregated, xds.KindCluster, Wildcard)
				expect := func(when string, there bool) {
					t.Helper()
					if got := tg.has("c") != "" || delta && slices.Contains(keys(tg), "c"); got != there {
						t.Errorf("%s: there %v, want %v", when, got, there)
					}
				}
				more <- lasting(t, "c", 10, false)
				after(9 * time.Second)
				expect("before it is over", true)
				more <- lasting(t, "c", 10, true)
				after(9 * time.Second)
				expect("after a heartbeat", true)
				after(2 * time.Second)
				expect("without another", false)
				more <- lasting(t, "c", 10, false)
				after(time.Second)
				expect("told again", true)
				s.stop()
				after(20 * time.Second)
				expect("while the server is away", false)
				if !delta && tg.has("for good") != "1" {
					t.Error("what has no TTL is gone")
				}
			})
		})
	}
}

func keys(tg *target) (out []string) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	for n := range tg.put {
		out = append(out, n)
	}
	return out
}

// The server is told who asks once or each time, what initial_metadata says, and no
// more often than rate_limit_settings allows.
func TestRequests(t *testing.T) {
	for _, once := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var times []time.Time
			var nodes []string
			asked := make(chan struct{}, 100)
			s := newServer(t, func(c *call) error {
				if got := c.header("x-token"); !slices.Equal(got, []string{"%REQ(plain)%"}) {
					t.Errorf("x-token is %q", got)
				}
				if got := c.header("raw-bin"); !slices.Equal(got, []string{"\x00\xff"}) {
					t.Errorf("raw-bin is %q", got)
				}
				if got := c.header(":authority"); !slices.Equal(got, []string{"xds.example"}) {
					t.Errorf(":authority is %q", got)
				}
				for i := 0; ; i++ {
					q := c.state()
					if q == nil {
						return nil
					}
					times, nodes = append(times, time.Now()), append(nodes, q.GetNode().GetId())
					asked <- struct{}{}
					if err := c.say(fmt.Sprint(i), cluster(t, "c")); err != nil {
						return err
					}
				}
			})
			api := grpcAPI(corev3.ApiConfigSource_GRPC)
			api.SetNodeOnFirstMessageOnly = once
			api.RateLimitSettings = &corev3.RateLimitSettings{MaxTokens: wrapperspb.UInt32(3), FillRate: wrapperspb.Double(0.5)}
			api.GrpcServices[0].GetEnvoyGrpc().Authority = "xds.example"
			api.GrpcServices[0].InitialMetadata = []*corev3.HeaderValue{{Key: "X-Token", Value: "%REQ(plain)%"}, {Key: "raw-bin", RawValue: []byte{0, 0xff}}}
			to := newTarget()
			c := s.client(to, api)
			c.Subscribe("ads", aggregated, xds.KindCluster, Wildcard)
			for range 6 {
				<-asked
			}
			c.Close()
			if len(to.throttled) < 3 || to.throttled[0] != (Stream{Source: "ads"}) || to.released != len(to.throttled) {
				t.Errorf("requests waited on %v, and %d did no more", to.throttled, to.released)
			}
			for i, want := range []time.Duration{0, 0, 0, 2, 4, 6} {
				if got := times[i].Sub(times[0]).Round(time.Second); got != want*time.Second {
					t.Errorf("request %d came after %v, want %ds", i, got, want)
				}
				if node := nodes[i]; (node == "edge-1") != (!once || i == 0) {
					t.Errorf("request %d is of %q", i, node)
				}
			}
		})
	}
}

// Each API type is asked by the method of its own.
func TestMethods(t *testing.T) {
	const aggregate, cds = "/envoy.service.discovery.v3.AggregatedDiscoveryService/", "/envoy.service.cluster.v3.ClusterDiscoveryService/"
	for kind, want := range map[corev3.ApiConfigSource_ApiType]string{
		corev3.ApiConfigSource_GRPC:                  cds + "StreamClusters",
		corev3.ApiConfigSource_DELTA_GRPC:            cds + "DeltaClusters",
		corev3.ApiConfigSource_AGGREGATED_GRPC:       aggregate + "StreamAggregatedResources",
		corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC: aggregate + "DeltaAggregatedResources",
	} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var methods []string
				s := newServer(t, func(c *call) error {
					methods = append(methods, c.method)
					if c.delta {
						q := c.change()
						if len(q.GetResourceNamesSubscribe()) != 0 || q.GetTypeUrl() != clusterURL {
							t.Errorf("asked %v", q)
						}
						return errors.Join(c.SendMsg(&discoveryv3.DeltaDiscoveryResponse{
							TypeUrl: clusterURL, Nonce: "1", Resources: []*discoveryv3.Resource{{Name: "c", Version: "v", Resource: cluster(t, "c")}},
						}), wait(c))
					}
					if q := c.state(); len(q.GetResourceNames()) != 0 || q.GetTypeUrl() != clusterURL {
						t.Errorf("asked %v", q)
					}
					return errors.Join(c.say("v", cluster(t, "c")), wait(c))
				})
				tg := newTarget()
				s.client(tg, nil).Subscribe("own", own(grpcAPI(kind)), xds.KindCluster, Wildcard)
				<-tg.news
				if tg.has("c") != "v" || !slices.Equal(methods, []string{want}) {
					t.Errorf("by %v came %q", methods, tg.has("c"))
				}
			})
		})
	}
}

func wait(c *call) error {
	<-c.Context().Done()
	return nil
}

// A server that is away is asked again with growing pauses, all services in turn; one
// that has spoken is asked again soon.
func TestReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(c *call) error { c.state(); return c.say("1", cluster(t, "c")) })
		s.stop()
		api := grpcAPI(corev3.ApiConfigSource_GRPC)
		api.GrpcServices[0].GetEnvoyGrpc().RetryPolicy = &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
			BaseInterval: durationpb.New(time.Second), MaxInterval: durationpb.New(8 * time.Second),
		}}
		tg := newTarget()
		s.client(tg, api).Subscribe("ads", aggregated, xds.KindCluster, Wildcard)
		after(15 * time.Second) // 1+2+4+8 at most.
		if _, dials := s.counts(); dials < 5 {
			t.Errorf("%d dials while it is away", dials)
		}
		after(10 * time.Minute)
		if _, dials := s.counts(); dials > 600/2 {
			t.Errorf("%d dials in ten minutes, without pauses that grow", dials)
		}
		s.start()
		after(9 * time.Second)
		if tg.has("c") != "1" {
			t.Fatal("not asked again within the greatest pause")
		}
		before, _ := s.counts()
		after(10 * time.Second) // It ends each stream after one word.
		if n, _ := s.counts(); n-before < 10 {
			t.Errorf("a server that speaks was asked %d times in 10 s", n-before)
		}
		tg.mu.Lock()
		defer tg.mu.Unlock()
		if tg.up[0] != true || tg.up[1] != false {
			t.Errorf("connected: %v", tg.up)
		}
	})
}

func TestPauses(t *testing.T) {
	for _, p := range []pauses{{time.Second, 30 * time.Second}, {1 << 62, 1 << 62}, {time.Hour, time.Second}, {1, 1 << 62}} {
		for tries := range uint(100) {
			limit := min(p.most, p.base<<min(tries, 5))
			if limit <= 0 || tries > 5 {
				limit = p.most
			}
			if got := p.after(tries); got < 0 || got > limit {
				t.Errorf("%v after %d tries: %v", p, tries, got)
			}
		}
	}
}

// A server that takes a connection and says nothing, or never reads, is given up, and
// another is asked.
func TestStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(c *call) error { // Speaks, and never reads.
			for i := 0; ; i++ {
				if err := c.say(fmt.Sprintf("bad %d", i), pack(t, &discoveryv3.Resource{Name: strings.Repeat("x", 1<<12), Resource: cluster(t, strings.Repeat("x", 1<<12))})); err != nil {
					return nil
				}
			}
		})
		tg := newTarget()
		c := s.client(tg, grpcAPI(corev3.ApiConfigSource_GRPC))
		c.Subscribe("ads", aggregated, xds.KindCluster, Wildcard)
		after(10 * time.Minute)
		if !strings.Contains(s.logged(), "has not read what it was told for 15s") {
			t.Errorf("the log is %.2000s", s.logged())
		}
		c.Close()
	})
}

// Garbage without end costs a bounded number of updates, answers and lines of log, and
// nothing that was good.
func TestEndlessGarbage(t *testing.T) {
	const seconds = 100
	most := wrongMost + seconds*wrongRate + 2
	for name, say := range map[string]func(c *call, i int) error{
		"unknown types": func(c *call, i int) error {
			return c.SendMsg(&discoveryv3.DiscoveryResponse{VersionInfo: fmt.Sprint(i), TypeUrl: "type.googleapis.com/nobody.Knows"})
		},
		"cannot be read": func(c *call, i int) error {
			return c.say(fmt.Sprint(i), &anypb.Any{TypeUrl: clusterURL, Value: []byte("\xff\xff\xff")})
		},
		"the same again": func(c *call, i int) error { return c.say("bad", cluster(t, "c"), cluster(t, "good")) },
		"much that is wrong": func(c *call, i int) error {
			return c.say(fmt.Sprint("bad", i), slices.Repeat([]*anypb.Any{{TypeUrl: clusterURL, Value: []byte("\xff\xff\xff")}}, 100)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told, longest, reading := 0, 0, sync.WaitGroup{}
				s := newServer(t, func(c *call) error {
					if err := c.say("good", cluster(t, "good")); err != nil {
						return err
					}
					reading.Go(func() {
						for q := c.state(); q != nil; q = c.state() {
							if q.GetErrorDetail() != nil {
								told++
								longest = max(longest, len(q.GetErrorDetail().GetMessage()))
							}
						}
					})
					for i := 0; ; i++ {
						if err := say(c, i); err != nil {
							return nil
						}
					}
				})
				tg := newTarget()
				c := s.client(tg, grpcAPI(corev3.ApiConfigSource_GRPC))
				c.Subscribe("ads", aggregated, xds.KindCluster, Wildcard)
				after(seconds * time.Second)
				c.Close()
				reading.Wait()
				if tg.updates > most || told > most || strings.Count(s.logged(), "\n") > most {
					t.Errorf("%d updates, %d refusals, %d lines of log", tg.updates, told, strings.Count(s.logged(), "\n"))
				}
				if longest > (maxFaults+1)*(maxFault+50) || len(s.logged()) > most*(maxFaults+2)*(maxFault+200) {
					t.Errorf("a refusal has %d bytes, the log %d", longest, len(s.logged()))
				}
				if tg.has("good") != "good" {
					t.Errorf("what was good is gone: %v", tg.put)
				}
			})
		})
	}
}

// What waits for clusters does not wait for ever, and is bounded meanwhile.
func TestHeldResponses(t *testing.T) {
	const url = wire.Prefix + "envoy.config.listener.v3.Listener"
	for _, delta := range []bool{false, true} {
		t.Run(fmt.Sprint("delta ", delta), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int64
				s := newServer(t, func(c *call) error {
					l := pack(t, &listenerv3.Listener{Name: "l"})
					for ; ; sent.Add(1) {
						var err error
						version := fmt.Sprint(sent.Load())
						if delta {
							err = c.SendMsg(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: url, Resources: []*discoveryv3.Resource{{Name: "l", Version: version, Resource: l}}})
						} else if sent.Load() < 200 {
							err = c.SendMsg(&discoveryv3.DiscoveryResponse{TypeUrl: url, VersionInfo: version, Resources: []*anypb.Any{l}})
						} else {
							return wait(c)
						}
						if err != nil {
							return nil
						}
					}
				})
				tg := newTarget()
				tg.warm = make(chan struct{})
				kind := corev3.ApiConfigSource_GRPC
				if delta {
					kind = corev3.ApiConfigSource_DELTA_GRPC
				}
				c := s.client(tg, grpcAPI(kind))
				c.Subscribe("ads", aggregated, xds.KindListener, Wildcard)
				after(warmLimit - time.Second)
				if n, _ := tg.seen(); n != 0 {
					t.Error("listeners are used before clusters are ready")
				}
				if n := sent.Load(); delta && n > 10*heldMost { // gRPC reads ahead.
					t.Errorf("%d responses were read", n)
				}
				after(2 * time.Second)
				if n, _ := tg.seen(); tg.has("l") == "" || !delta && n != 1 {
					t.Errorf("after the limit there is %q, after %d updates", tg.has("l"), n)
				}
				c.Close()
			})
		})
	}
}

// A server that ends the stream while it is told something, with a response underway, is
// asked again.
func TestEndsWhileTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(c *call) error {
			for i := range 50 {
				if err := c.say(fmt.Sprint(c.number, ".", i), cluster(t, "c")); err != nil {
					return err
				}
			}
			return errors.New("enough")
		})
		tg := newTarget()
		s.client(tg, grpcAPI(corev3.ApiConfigSource_GRPC)).Subscribe("ads", aggregated, xds.KindCluster, Wildcard)
		after(time.Minute)
		if n, _ := s.counts(); n < 20 {
			t.Errorf("%d streams in a minute", n)
		}
	})
}

// A response that is larger than it may be ends the stream, and nothing else.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(c *call) error {
			if c.number == 1 {
				return errors.Join(c.say("1", pack(t, &discoveryv3.Resource{Name: "c", Resource: cluster(t, "c")}), cluster(t, strings.Repeat("x", 1<<20))), wait(c))
			}
			return errors.Join(c.say("2", cluster(t, "c")), wait(c))
		})
		api := grpcAPI(corev3.ApiConfigSource_GRPC)
		api.GrpcServices[0].GetEnvoyGrpc().MaxReceiveMessageLength = wrapperspb.UInt32(1 << 20)
		tg := newTarget()
		s.client(tg, api).Subscribe("ads", aggregated, xds.KindCluster, Wildcard)
		after(time.Second)
		if _, fails := tg.seen(); tg.has("c") != "2" || fails == 0 || !strings.Contains(s.logged(), "larger than max") {
			t.Errorf("has %q after %d failures; the log is %s", tg.has("c"), fails, s.logged())
		}
	})
}

// A response of 100 MB is used.
func TestHuge(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 100 MB")
	}
	s := newServer(t, func(c *call) error {
		big := pack(t, &listenerv3.Listener{Name: "l", StatPrefix: strings.Repeat("x", 100<<20)})
		return errors.Join(c.SendMsg(&discoveryv3.DiscoveryResponse{TypeUrl: big.GetTypeUrl(), VersionInfo: "1", Nonce: "1", Resources: []*anypb.Any{big}}), wait(c))
	})
	tg := newTarget()
	c := s.client(tg, grpcAPI(corev3.ApiConfigSource_GRPC))
	c.Subscribe("ads", aggregated, xds.KindListener, Wildcard)
	<-tg.news
	if tg.has("l") != "1" {
		t.Errorf("has %v; the log is %s", tg.put, s.logged())
	}
	c.Close()
}

// What nobody wants any more is forgotten, and a source of which nothing is wanted ends
// after a while; what nobody asked for is not used.
func TestUnsubscribe(t *testing.T) {
	for _, delta := range []bool{false, true} {
		t.Run(fmt.Sprint("delta ", delta), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var last []string
				note := func(names []string) {
					mu.Lock()
					defer mu.Unlock()
					last = names
				}
				asks := func() []string {
					mu.Lock()
					defer mu.Unlock()
					return last
				}
				ended := make(chan struct{}, 10)
				s := newServer(t, func(c *call) error {
					defer func() { ended <- struct{}{} }()
					names := map[string]bool{}
					for {
						if c.delta {
							q := c.change()
							if q == nil {
								return nil
							}
							for _, n := range q.GetResourceNamesSubscribe() {
								names[n] = true
							}
							for _, n := range q.GetResourceNamesUnsubscribe() {
								delete(names, n)
							}
							if q.GetResponseNonce() != "" {
								continue
							}
							note(sorted(names))
							r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: q.GetTypeUrl(), Nonce: "n"}
							for _, n := range []string{"a", "b", "x"} {
								r.Resources = append(r.Resources, &discoveryv3.Resource{Name: n, Version: "1", Resource: cluster(t, n)})
							}
							if err := c.SendMsg(r); err != nil {
								return err
							}
							continue
						}
						q := c.state()
						if q == nil {
							return nil
						}
						note(q.GetResourceNames())
						if q.GetVersionInfo() == "" {
							if err := c.say("1", cluster(t, "a"), cluster(t, "b"), cluster(t, "x")); err != nil {
								return err
							}
						}
					}
				})
				kind := corev3.ApiConfigSource_GRPC
				if delta {
					kind = corev3.ApiConfigSource_DELTA_GRPC
				}
				tg := newTarget()
				c := s.client(tg, grpcAPI(kind))
				c.Subscribe("ads", aggregated, xds.KindCluster, "a")
				c.Subscribe("ads", aggregated, xds.KindCluster, "b")
				after(time.Second)
				if tg.has("a") != "1" || tg.has("b") != "1" || tg.has("x") != "" {
					t.Errorf("has a %q, b %q, x %q", tg.has("a"), tg.has("b"), tg.has("x"))
				}
				c.Unsubscribe("ads", xds.KindCluster, "b")
				after(time.Second)
				if got := tg.forgotten(); !slices.Equal(got, []string{"b"}) || !slices.Equal(asks(), []string{"a"}) {
					t.Errorf("forgot %v, asks for %v", got, asks())
				}
				c.Unsubscribe("ads", xds.KindCluster, "a")
				after(linger / 2)
				c.Subscribe("ads", aggregated, xds.KindCluster, "a")
				after(2 * linger)
				if len(ended) != 0 {
					t.Error("the stream has ended although something is wanted")
				}
				c.Unsubscribe("ads", xds.KindCluster, "a")
				after(linger + time.Second)
				if len(ended) != 1 {
					t.Error("the stream goes on although nothing is wanted")
				}
				c.Subscribe("ads", aggregated, xds.KindCluster, "a")
				after(time.Second)
				if n, _ := s.counts(); n != 2 || !slices.Equal(asks(), []string{"a"}) {
					t.Errorf("%d streams, the last asks for %v", n, asks())
				}
			})
		})
	}
}

func sorted(set map[string]bool) (out []string) {
	for n := range set {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// TestAskOfMany: what it costs to find that nothing else is wanted does not depend on how much that is.
func TestAskOfMany(t *testing.T) {
	c := New(Options{Target: newTarget()})
	s := newSource(c, "ads", nil, c.o.Log)
	for i := range 1000 {
		s.want(xds.KindEndpoints, fmt.Sprint("c", i), true)
	}
	m := newMux(s, &corev3.ApiConfigSource{ApiType: corev3.ApiConfigSource_DELTA_GRPC}, nil)
	b := m.sub(c.types[xds.KindEndpoints])
	b.told, b.looked, b.asked = true, s.rev(xds.KindEndpoints)-1, map[string]bool{}
	for _, n := range s.names(xds.KindEndpoints) {
		b.asked[n] = true
	}
	ask := func() {
		if err := m.ask(t.Context()); err != nil {
			t.Error(err)
		}
	}
	ask()
	if n := testing.AllocsPerRun(10, ask); n > 20 {
		t.Errorf("to ask for nothing else makes %v allocations", n)
	}
}
