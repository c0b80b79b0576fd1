// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds"
)

// feeder is what the feeds of a connection manager are made with.
type feeder struct {
	services *extension.Services
	log      *slog.Logger
	scope    *stats.Scope
}

// feed is a route configuration that is delivered (RDS), and the virtual hosts that are
// delivered for it (VHDS).
type feed struct {
	feeder
	watch   *resource.Watch
	changed func(*route.Table)
	close   func()

	mu     sync.Mutex
	nth    int             // counts the tables that virtual hosts were delivered for
	hosts  *resource.Watch // nil if none are
	last   *route.Table    // the newest table told
	counts *hostStats      // nil if none are
}

// hostStats are Envoy's http.PREFIX.vhds.ROUTES.*.
type hostStats struct {
	own *stats.Sharded[reloads]
	all *resource.Stats
}

// reloads are those that other subscriptions do not have.
type reloads struct {
	Reload stats.Counter `stat:"config_reload"`
	Empty  stats.Counter `stat:"update_empty"`
}

// routeStats are Envoy's http.PREFIX.rds.ROUTES.* beside those of any subscription.
type routeStats struct {
	Reload     stats.Counter `stat:"config_reload"`
	Empty      stats.Counter `stat:"update_empty"`
	ReloadTime stats.Gauge   `stat:"config_reload_time_ms"`
}

// sharedTables marks the route tables of resources, which all connection managers that
// name one have in common.
type sharedTables struct{}

// open has changed told of each new table of a route configuration, until close.
func (f feeder) open(source *corev3.ConfigSource, name string, changed func(*route.Table)) (*feed, error) {
	if name == "" {
		return nil, errors.New("route_config_name: is missing")
	}
	at := f.scope.Scope("rds." + stats.Sanitize(name))
	counts, own := resource.NewStats(at), stats.Register[routeStats](at, 1)
	d := &feed{feeder: f, changed: changed}
	var err error
	d.watch, err = f.services.Resources.Watch(source, xds.KindRoutes, name, resource.Options{
		Next: func(m proto.Message, before any) (any, error) {
			rc, ok := m.(*routev3.RouteConfiguration)
			if !ok {
				return nil, fmt.Errorf("is a %s and not a RouteConfiguration", m.ProtoReflect().Descriptor().FullName())
			}
			if v := rc.GetVhds(); v != nil {
				if err := f.checkHostSource(v.GetConfigSource()); err != nil {
					return nil, fmt.Errorf("vhds.config_source: %w", err)
				}
			}
			old, _ := before.(*route.Table)
			return compileRoutes(rc, old, f.services, f.log, false)
		},
		Share: sharedTables{},
		Changed: func(v any) {
			own.At(0).Reload.Inc()
			own.At(0).ReloadTime.Set(time.Now().UnixMilli())
			d.take(v.(*route.Table))
		},
		Empty: func() { own.At(0).Empty.Inc() },
		Needs: d.needs,
		Stats: counts,
	})
	if err != nil {
		own.Close()
		counts.Close()
		return nil, err
	}
	d.close = func() {
		d.watch.Close()
		d.dropHosts()
		own.Close()
		counts.Close()
	}
	return d, nil
}

// checkHostSource refuses sources that virtual hosts cannot be asked for at: they come as
// deltas only.
func (f feeder) checkHostSource(cs *corev3.ConfigSource) error {
	r := f.services.Resources
	key, err := r.Key(cs)
	switch {
	case cs == nil:
		return errors.New("is missing: set ads or api_config_source")
	case err != nil:
		return err
	case key == resource.Snapshot, key == resource.ADS && r.Delta:
		return nil
	case key == resource.ADS:
		return errors.New("ads: virtual hosts are delivered as deltas only: set api_type of dynamic_resources.ads_config to DELTA_GRPC")
	}
	switch cs.GetApiConfigSource().GetApiType() {
	case corev3.ApiConfigSource_DELTA_GRPC, corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
		return nil
	default:
		return errors.New("virtual hosts are delivered as deltas only: use ads, or api_config_source with api_type DELTA_GRPC")
	}
}

// take uses a new table of the route configuration itself.
func (f *feed) take(base *route.Table) {
	f.mu.Lock()
	f.nth++
	nth, old := f.nth, f.hosts
	f.mu.Unlock()
	cs := base.HostSource()
	if cs == nil {
		f.dropHosts()
		f.publish(nth, base)
		return
	}
	f.mu.Lock()
	if f.counts == nil {
		at := f.scope.Scope("vhds." + stats.Sanitize(base.Name))
		f.counts = &hostStats{stats.Register[reloads](at, 1), resource.NewStats(at)}
	}
	f.mu.Unlock()
	hosts, err := f.watchHosts(nth, base, cs)
	if err != nil { // It was checked.
		f.log.Error("virtual hosts cannot be asked for", "route_config", base.Name, "error", err)
		return
	}
	f.mu.Lock()
	f.hosts = hosts
	none := f.last == nil
	f.mu.Unlock()
	if none { // Its own virtual hosts serve until others come.
		f.publish(nth, base)
	}
	if old != nil {
		old.Close()
	}
}

// watchHosts watches the virtual hosts of a table. All connection managers that have the
// table have that with its virtual hosts, too.
func (f *feed) watchHosts(nth int, base *route.Table, cs *corev3.ConfigSource) (*resource.Watch, error) {
	f.mu.Lock()
	counts := f.counts
	f.mu.Unlock()
	return f.services.Resources.Watch(cs, xds.KindVirtualHost, base.Name, resource.Options{
		Members: func(put []resource.Member, gone []string, before any) (any, error) {
			ctx := routeContext(f.services, false)
			of, ok := before.(*route.Table)
			if !ok {
				of, ctx.Before = base, f.newest()
			}
			return settled(base.Name, f.log)(of.With(deliveries(put), gone, ctx))
		},
		Share: base,
		Empty: func() { counts.own.At(0).Empty.Inc() },
		Changed: func(v any) {
			counts.own.At(0).Reload.Inc()
			f.publish(nth, v.(*route.Table))
		},
		Stats: counts.all,
	})
}

// newest is the newest table told, or nil.
func (f *feed) newest() *route.Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// deliveries are virtual hosts that are members of a group.
func deliveries(members []resource.Member) []route.Delivery {
	out := make([]route.Delivery, 0, len(members))
	for _, m := range members {
		if v, ok := m.Message.(*routev3.VirtualHost); ok {
			out = append(out, route.Delivery{Name: m.Name, Host: v})
		}
	}
	return out
}

// publish tells of a table, unless it belongs to an older one of the route configuration.
func (f *feed) publish(nth int, t *route.Table) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if nth != f.nth {
		return
	}
	f.last = t
	f.changed(t)
}

func (f *feed) needs() []*resource.Watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hosts == nil {
		return nil
	}
	return []*resource.Watch{f.hosts}
}

func (f *feed) dropHosts() {
	f.mu.Lock()
	hosts, counts := f.hosts, f.counts
	f.hosts, f.counts = nil, nil
	f.mu.Unlock()
	if hosts != nil {
		hosts.Close()
	}
	if counts != nil {
		counts.own.Close()
		counts.all.Close()
	}
}

// settled makes of what a table was compiled to a table or an error; warnings are logged.
func settled(name string, log *slog.Logger) func(*route.Table, []route.Problem) (*route.Table, error) {
	return func(t *route.Table, problems []route.Problem) (*route.Table, error) {
		var errs []error
		for _, p := range problems {
			if p.Warning {
				log.Warn("a field of the route configuration has no effect", "route_config", name, "field", p.Path, "reason", p.Reason)
			} else {
				errs = append(errs, p)
			}
		}
		if t == nil {
			return nil, errors.Join(errs...)
		}
		return t, nil
	}
}
