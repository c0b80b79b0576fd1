// SPDX-License-Identifier: Apache-2.0

// Package kube reads objects from a Kubernetes cluster, keeps up with their changes,
// and writes statuses back.
//
// What it keeps is small: managed fields are dropped, of Secrets and ConfigMaps only
// the keys that can be meant are kept, and the objects that go into the View have no
// status, so that writing one is no change. If the apiserver goes away, what is known
// stays, and changes go on when it returns.
package kube

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"weir.dev/weir/control/source"
)

// A Source puts a cluster's objects into a Queue.
type Source struct {
	cluster *Cluster
	queue   *source.Queue
	log     *slog.Logger
	stores  map[source.Kind]cache.Store
	former  map[source.Kind]cache.Store // objects of an earlier name of a kind

	// ctx and wg are Run's.
	ctx context.Context
	wg  *sync.WaitGroup

	mu      sync.Mutex
	started bool                 // the first objects are there
	lists   map[source.Kind]bool // of lazy kinds, those that have not been read yet; the zero Kind is all others
	held    []source.Change      // gathered until all lists have been read
	refused chan error
	told    map[string]bool // errors of watches, each told once until it is over
}

// NewSource returns a Source of a cluster.
func NewSource(c *Cluster, q *source.Queue, log *slog.Logger) *Source {
	return &Source{cluster: c, queue: q, log: log, stores: map[source.Kind]cache.Store{}, former: map[source.Kind]cache.Store{}, lists: map[source.Kind]bool{{}: true}, refused: make(chan error, 1), told: map[string]bool{}}
}

// Run reads until ctx ends. All objects that there are at first are one change. The
// error is that the cluster refuses to be read.
func (s *Source) Run(ctx context.Context) error {
	if absent := s.cluster.absent(); len(absent) > 0 {
		s.log.Info("the cluster has no such kinds, which are left out: to use them, install their CRDs", "kinds", strings.Join(absent, ", "))
	}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	s.ctx, s.wg = ctx, &wg
	for _, o := range s.cluster.beside {
		for _, k := range s.cluster.needs(o.Key.Kind, o.Object) {
			s.need(k)
		}
	}
	var synced []cache.InformerSynced
	for kind := range s.cluster.types {
		synced = append(synced, s.read(kind)...)
	}
	ready := make(chan bool, 1)
	wg.Go(func() { ready <- cache.WaitForCacheSync(ctx.Done(), synced...) })
	select {
	case err := <-s.refused:
		return err
	case ok := <-ready:
		if !ok {
			return ctx.Err()
		}
	}
	s.release(source.Kind{})
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			s.look(ctx)
		}
	}
}

// lookEvery is how long CRDs that are installed may go unnoticed.
const lookEvery = 10 * time.Second

// look begins to read the kinds that the cluster has got since.
func (s *Source) look(ctx context.Context) {
	if s.cluster.listing == nil {
		return
	}
	found, err := s.cluster.discover(ctx)
	if err != nil {
		return // What cannot be read is told by who reads it.
	}
	for _, kind := range found {
		s.log.Info("the cluster has a further kind, which is read from now on", "kind", kind.String())
		s.read(kind)
	}
}

// read begins to read what the cluster has of a kind and is not read yet, but for lazy kinds. It returns
// what tells that the objects of the start are there.
func (s *Source) read(kind source.Kind) (synced []cache.InformerSynced) {
	if s.cluster.types[kind].Lazy {
		return nil
	}
	begin := func(gvr schema.GroupVersionResource, stores map[source.Kind]cache.Store, earlier bool) {
		store, informer := s.informer(s.ctx, kind, s.cluster.lister(gvr), s.cluster.typed(kind), earlier)
		s.mu.Lock()
		stores[kind] = store
		s.mu.Unlock()
		synced = append(synced, informer.HasSynced)
		s.wg.Go(func() { informer.RunWithContext(s.ctx) })
	}
	s.mu.Lock()
	main, former := s.stores[kind] != nil, s.former[kind] != nil
	s.mu.Unlock()
	if gvr, served := s.cluster.resourceOf(kind); served && !main {
		begin(gvr, s.stores, false)
	}
	if gvr, served := s.cluster.formerOf(kind); served && !former {
		begin(gvr, s.former, true)
	}
	return synced
}

// release tells that a kind has been read, or cannot be. With the last, what was
// gathered meanwhile is one change.
func (s *Source) release(kind source.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lists[kind] {
		return
	}
	delete(s.lists, kind)
	if len(s.lists) > 0 {
		return
	}
	if !s.started {
		s.log.Info("read the cluster", "objects", len(s.held), "at", s.cluster.host)
	}
	s.started = true
	s.queue.Put(s.held...)
	s.held = nil
}

// informer reads the objects of a kind or, if that is so, of its earlier name: of two that
// are called alike the newer counts.
func (s *Source) informer(ctx context.Context, kind source.Kind, from lists, transform cache.TransformFunc, earlier bool) (cache.Store, cache.Controller) {
	failed := func(err error) { s.failed(kind, err) }
	return cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				list, err := from.list(ctx, o)
				if err != nil {
					failed(err)
				}
				return list, err
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				w, err := from.watch(ctx, o)
				switch {
				case err == nil:
					s.recovered(kind) // Who may list may not be allowed to watch.
				case !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) && ctx.Err() == nil:
					failed(err)
				}
				return w, err
			},
		}, s.cluster.client),
		ObjectType: from.of,
		Transform:  transform,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(o any) {
				if !earlier || !s.newer(kind, o) {
					s.changed(kind, nil, o)
				}
			},
			UpdateFunc: func(old, o any) {
				if !earlier || !s.newer(kind, o) {
					s.changed(kind, old, o)
				}
			},
			DeleteFunc: func(o any) {
				if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = gone.Obj
				}
				if !earlier || !s.newer(kind, o) {
					s.gone(kind, o)
				}
			},
		},
	})
}

// bare returns an object without what changes when its status is written. That of a
// Service says where it is reached, and is not ours.
func bare(o source.Object) source.Object {
	out := o.DeepCopyObject().(source.Object)
	out.SetResourceVersion("")
	if _, ok := out.(*corev1.Service); ok {
		return out
	}
	if f := reflect.ValueOf(out).Elem().FieldByName("Status"); f.IsValid() {
		f.SetZero()
	}
	return out
}

func (s *Source) changed(kind source.Kind, old, o any) {
	now, ok := o.(source.Object)
	if !ok {
		return
	}
	fresh := bare(now)
	if was, ok := old.(source.Object); ok && reflect.DeepEqual(bare(was), fresh) {
		return
	}
	for _, k := range s.cluster.needs(kind, now) {
		s.need(k)
	}
	s.put(source.Change{Key: source.Key{Kind: kind, Name: source.NameOf(now)}, Object: fresh})
}

func (s *Source) gone(kind source.Kind, o any) {
	was, ok := o.(source.Object)
	if !ok {
		return
	}
	key := source.Key{Kind: kind, Name: source.NameOf(was)}
	s.mu.Lock()
	former := s.former[kind]
	s.mu.Unlock()
	if old := in(former, key.Name); old != nil {
		s.put(source.Change{Key: key, Object: bare(old)})
		return
	}
	s.put(source.Change{Key: key})
}

// newer tells that an object of an earlier name of a kind is called as one of the present is.
func (s *Source) newer(kind source.Kind, o any) bool {
	was, ok := o.(source.Object)
	return ok && s.get(source.Key{Kind: kind, Name: source.NameOf(was)}) != nil
}

func (s *Source) put(c source.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lists) > 0 {
		s.held = append(s.held, c)
		return
	}
	s.queue.Put(c)
}

// failed tells of an error of a list or watch. Before the first objects are there, a
// refusal ends the Source; later, or of a lazy kind, what is known stays.
func (s *Source) failed(kind source.Kind, err error) {
	lazy, refused := s.cluster.types[kind].Lazy, apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
	if lazy && refused {
		defer s.release(kind) // Nothing else waits for it.
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text := kind.String()
	if !s.started && !lazy && refused {
		select {
		case s.refused <- s.cluster.explain(err):
		default:
		}
		return
	}
	if !s.told[text] && !errors.Is(err, context.Canceled) {
		s.told[text] = true
		s.log.Warn("cannot read the cluster; what is known goes on being served", "kind", text, "error", s.cluster.explain(err))
	}
}

func (s *Source) recovered(kind source.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told[kind.String()] {
		delete(s.told, kind.String())
		s.log.Info("reads the cluster again", "kind", kind.String())
	}
}

// get returns an object as it was read last, with its status.
func (s *Source) get(key source.Key) source.Object {
	s.mu.Lock()
	store := s.stores[key.Kind]
	s.mu.Unlock()
	return in(store, key.Name)
}

// find returns an object, and the resource that it is of: that of its kind or, if only that
// has it, of the kind's earlier name.
func (s *Source) find(key source.Key) (source.Object, schema.GroupVersionResource) {
	gvr, _ := s.cluster.resourceOf(key.Kind)
	if o := s.get(key); o != nil {
		return o, gvr
	}
	s.mu.Lock()
	former := s.former[key.Kind]
	s.mu.Unlock()
	o := in(former, key.Name)
	if o != nil {
		gvr, _ = s.cluster.formerOf(key.Kind)
	}
	return o, gvr
}

// in returns what a store has under a name, or nil; it may be nil itself.
func in(store cache.Store, name source.Name) source.Object {
	if store == nil {
		return nil
	}
	o, _, err := store.GetByKey(name.String())
	if err != nil {
		return nil
	}
	out, _ := o.(source.Object)
	return out
}
