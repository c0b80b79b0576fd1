// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// create makes an object; that it may take a while is not for the caller to count.
func (s *system) create(gvr schema.GroupVersionResource, o *unstructured.Unstructured) {
	s.t.Helper()
	if _, err := s.Dynamic.Resource(gvr).Namespace(o.GetNamespace()).Create(s.t.Context(), o, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// all does something for 0 to n-1, at eight at once, as long as it goes well.
func (s *system) all(n int, do func(ctx context.Context, i int) error) error {
	const atOnce = 8
	ctx, stop := context.WithCancelCause(s.t.Context())
	defer stop(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; {
		select {
		case next <- i:
			i++
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// spread tells of durations.
func spread(list []time.Duration) string {
	if len(list) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(list))
	sum := time.Duration(0)
	for _, d := range sorted {
		sum += d
	}
	at := func(part int) time.Duration {
		return sorted[min(len(sorted)-1, len(sorted)*part/100)].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("mean %v, median %v, p99 %v, max %v", (sum / time.Duration(len(sorted))).Round(100*time.Microsecond), at(50), at(99), at(100))
}

// propagate makes routes one after another, the second rule of each without a backend, and asks each until it answers
// 200. It returns how long that took after the route was there, and how many answers were neither 404 nor 200.
func (s *system) propagate(prefix string, n int) (took []time.Duration, wrong int) {
	s.t.Helper()
	for i := range n {
		host, path := fmt.Sprintf("%s-%d.example.com", prefix, i), fmt.Sprintf("/%d", i)
		s.create(httpRoutes, route("default", fmt.Sprintf("%s-%d", prefix, i), host, rule(path, "backend", 80, true), rule("/", "invalid-backend", 80, true)))
		begun := time.Now()
		for {
			code, err := s.ask(host, path)
			if err != nil {
				s.t.Fatal(err)
			}
			if code == http.StatusOK {
				break
			}
			if code != http.StatusNotFound {
				wrong++
			}
			if time.Since(begun) > time.Minute {
				s.t.Fatalf("%s is not served after a minute", host)
			}
			<-time.After(5 * time.Millisecond)
		}
		took = append(took, time.Since(begun))
	}
	return took, wrong
}

// TestRoutePropagation is the scenario "probe".
func TestRoutePropagation(t *testing.T) {
	s := start(t)
	n := size(3000, 40)
	before := s.used()
	took, wrong := s.propagate("probe", n)
	after := s.used()
	t.Logf("RESULT route propagation, %d routes: %s; first tenth: %s; last tenth: %s; wrong answers %d; for a route: %s",
		n, spread(took), spread(took[:n/10]), spread(took[n-n/10:]), wrong, after.since(before, n))
	if wrong > 0 {
		t.Errorf("%d answers were neither 404 nor 200", wrong)
	}
}

// TestAttachedRoutes is the scenario "attached routes".
func TestAttachedRoutes(t *testing.T) {
	s := start(t)
	n := size(1000, 40)
	w, err := s.Dynamic.Resource(gateways).Namespace("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	writes, last := 0, int64(-1)
	until := func(want int64) time.Time {
		for e := range w.ResultChan() {
			o, ok := e.Object.(*unstructured.Unstructured)
			if !ok {
				continue
			}
			list, _, _ := unstructured.NestedSlice(o.Object, "status", "listeners")
			if len(list) == 0 {
				continue
			}
			if count, _, _ := unstructured.NestedInt64(list[0].(map[string]any), "attachedRoutes"); count != last {
				writes, last = writes+1, count
			}
			if last == want {
				return time.Now()
			}
		}
		t.Fatalf("the watch of Gateways ended before %d routes were attached", want)
		return time.Time{}
	}
	client := s.Dynamic.Resource(httpRoutes).Namespace("default")
	var made time.Time
	done := make(chan error, 1)
	go func() {
		err := s.all(n, func(ctx context.Context, i int) error {
			_, err := client.Create(ctx, route("default", fmt.Sprintf("a-%d", i), fmt.Sprintf("a-%d.example.com", i), rule("/", "backend", 80, false)), metav1.CreateOptions{})
			return err
		})
		made = time.Now()
		done <- err
	}()
	seen := until(int64(n))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	added, adding := seen.Sub(made), writes
	begun := time.Now()
	go func() {
		done <- s.all(n, func(ctx context.Context, i int) error {
			return client.Delete(ctx, fmt.Sprintf("a-%d", i), metav1.DeleteOptions{})
		})
	}()
	removed := until(0).Sub(begun)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("RESULT attached routes, %d: all counted %v after the last was made, with %d writes; none counted %v after the first was deleted, with %d writes",
		n, added.Round(time.Millisecond), adding, removed.Round(time.Millisecond), writes-adding)
}

// TestRouteChange is the scenario "route change": requests without a pause while the backend and the filters change.
func TestRouteChange(t *testing.T) {
	s := start(t)
	n := size(20, 20)
	const host = "change.example.com"
	s.create(httpRoutes, route("default", "change", host, rule("/", "backend", 80, false)))
	s.Until(t, "the route to be served", func(context.Context) error {
		if code, err := s.ask(host, "/"); err != nil || code != http.StatusOK {
			return fmt.Errorf("%d %w", code, err)
		}
		return nil
	})
	stop, done := make(chan struct{}), make(chan struct{})
	codes := map[int]int{}
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				code, err := s.ask(host, "/")
				if err != nil {
					code = 0
				}
				codes[code]++
			}
		}
	}()
	client := s.Dynamic.Resource(httpRoutes).Namespace("default")
	for i := range n {
		o, err := client.Get(t.Context(), "change", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		fresh := route("default", "change", host, rule("/", "backend", []int64{8080, 80}[i%2], i%4 < 2))
		fresh.SetResourceVersion(o.GetResourceVersion())
		if _, err := client.Update(t.Context(), fresh, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		<-time.After(250 * time.Millisecond)
	}
	close(stop)
	<-done
	t.Logf("RESULT route change, %d changes: answers by status %v", n, codes)
	if len(codes) != 1 || codes[http.StatusOK] == 0 {
		t.Errorf("answers by status: %v", codes)
	}
}
