// SPDX-License-Identifier: Apache-2.0

package extension

import (
	_ "embed"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// discoveryStats are Envoy's extension_config_discovery.KIND.NAME.*.
type discoveryStats struct {
	Reload   stats.Counter `stat:"config_reload"`
	Fail     stats.Counter `stat:"config_fail"`
	Conflict stats.Counter `stat:"config_conflict"`
}

// A Discovery is a filter whose configuration is delivered on its own (ECDS): as long as
// none has come, its default is used or, without one, none. A T is what a configuration
// makes.
type Discovery[T any] struct {
	// Kind is Envoy's word for the filter in statistics, such as http_filter; Name is the
	// filter's, and that of the resource.
	Kind, Name string
	// Knows tells whether an extension is configured by a message and fits the place.
	Knows func(message string) error
	// Compile makes a T; own keeps what must be closed when it is replaced.
	Compile func(cfg *anypb.Any, own func(close func())) (T, error)
	// Use makes v what is used from now on; without ok there is none. ends let go of what
	// was used before, once nobody does.
	Use func(v T, ok bool, ends []func())
	// Await, if not nil, is told of what must be there before the filter is used.
	Await func(*resource.Watch)
	// Own keeps what ends the discovery.
	Own func(close func())

	services *Services
	source   *corev3.ExtensionConfigSource
	types    map[string]bool
	counts   *stats.Sharded[discoveryStats]
	updates  *resource.Stats
	watching atomic.Bool // the first value, if it was there, was told

	mu    sync.Mutex
	owned []func() // of what is used
}

// compiled is one configuration and what it owns.
type compiled[T any] struct {
	v     T
	owned []func()
}

// Prepare reads a config source (envoy.config.core.v3.ExtensionConfigSource) and uses the
// default, if there is one. Nothing is asked for before Start.
func (d *Discovery[T]) Prepare(s *Services, source *corev3.ExtensionConfigSource) error {
	d.services, d.source, d.types = s, source, map[string]bool{}
	if err := supported.Apply(source, "", s.Warn("filter", "filter", d.Name)); err != nil {
		return err
	}
	if source.GetConfigSource() == nil {
		return errors.New("config_source: is missing: say where the configuration is found, such as ads: {}")
	}
	if len(source.GetTypeUrls()) == 0 {
		return errors.New("type_urls: is empty: list the types of configuration that may come")
	}
	for i, url := range source.GetTypeUrls() {
		message := MessageOf(url)
		if err := d.Knows(message); err != nil {
			return fmt.Errorf("type_urls[%d]: %w", i, err)
		}
		d.types[message] = true
	}
	if source.GetDefaultConfig() == nil {
		if source.GetApplyDefaultConfigWithoutWarming() {
			return errors.New("apply_default_config_without_warming: there is no default_config: add one, or remove the field")
		}
		var none T
		d.Use(none, false, nil)
		return nil
	}
	c, err := d.compile(source.GetDefaultConfig())
	if err != nil {
		return fmt.Errorf("default_config: %w", err)
	}
	d.use(c)
	return nil
}

// Start asks for the configuration.
func (d *Discovery[T]) Start() error {
	scope := "extension_config_discovery." + d.Kind + "." + stats.Sanitize(d.Name)
	d.counts = stats.Register[discoveryStats](d.services.Stats.Scope(scope), 1)
	d.updates = resource.NewStats(d.services.Stats.Scope(scope))
	count := d.counts.At(0)
	w, err := d.services.Resources.Watch(d.source.GetConfigSource(), xds.KindExtension, d.Name, resource.Options{
		Decode: d.decode,
		Changed: func(v any) {
			d.use(v.(compiled[T]))
			count.Reload.Inc()
		},
		Dropped: func(v any) { closeAll(v.(compiled[T]).owned) },
		Gone: func() {
			d.fallBack()
			count.Reload.Inc()
		},
		Refused: func(error) {
			if d.watching.Load() {
				count.Fail.Inc()
			} else {
				count.Conflict.Inc()
			}
		},
		Late:  count.Fail.Inc,
		Stats: d.updates,
	})
	if err != nil {
		d.close()
		return fmt.Errorf("config_source: %w", err)
	}
	d.watching.Store(true)
	d.Own(func() {
		w.Close()
		d.close()
	})
	if d.Await != nil && !d.source.GetApplyDefaultConfigWithoutWarming() {
		d.Await(w)
	}
	return nil
}

func (d *Discovery[T]) close() {
	d.counts.Close()
	d.updates.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	closeAll(d.owned)
	d.owned = nil
}

// Run prepares and starts a discovery; ended is called when it is over.
func (d *Discovery[T]) Run(s *Services, source *corev3.ExtensionConfigSource, ended func()) error {
	if err := d.Prepare(s, source); err != nil {
		return fmt.Errorf("config_discovery.%w", err)
	}
	if err := d.Start(); err != nil {
		return fmt.Errorf("config_discovery.%w", err)
	}
	d.Own(ended)
	return nil
}

// Abandon lets go of a discovery that was not started.
func (d *Discovery[T]) Abandon() { closeAll(d.owned) }

func (d *Discovery[T]) decode(m proto.Message) (any, error) {
	e, ok := m.(*corev3.TypedExtensionConfig)
	if !ok {
		return nil, fmt.Errorf("is a %s and not a TypedExtensionConfig", m.ProtoReflect().Descriptor().FullName())
	}
	if e.GetTypedConfig() == nil {
		return nil, errors.New("typed_config: is missing")
	}
	return d.compile(e.GetTypedConfig())
}

func (d *Discovery[T]) compile(cfg *anypb.Any) (c compiled[T], err error) {
	if name := Name(cfg); !d.types[name] {
		return c, fmt.Errorf("typed_config: is a %s, which is not among type_urls of the filter %q", name, d.Name)
	}
	c.v, err = d.Compile(cfg, func(f func()) { c.owned = append(c.owned, f) })
	if err != nil {
		closeAll(c.owned)
		return compiled[T]{}, err
	}
	return c, nil
}

func (d *Discovery[T]) use(c compiled[T]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.owned
	d.owned = c.owned
	d.Use(c.v, true, before)
}

// fallBack uses the default again, as the configuration is gone.
func (d *Discovery[T]) fallBack() {
	if a := d.source.GetDefaultConfig(); a != nil {
		c, err := d.compile(a)
		if err == nil {
			d.use(c)
			return
		}
		d.services.Log("config").Error("the default_config of a filter cannot be used any more", "filter", d.Name, "error", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.owned
	d.owned = nil
	var none T
	d.Use(none, false, before)
}

func closeAll(list []func()) {
	for _, f := range list {
		f()
	}
}
