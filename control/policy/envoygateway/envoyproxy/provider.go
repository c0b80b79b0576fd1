// SPDX-License-Identifier: Apache-2.0

package envoyproxy

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
)

// kubernetes is the path of what the provider says.
const kubernetes = "provider.kubernetes"

// kindPaths are the fields that speak of objects of a kind.
func kindPaths() map[string]string {
	return map[string]string{
		"": "bootstrap", infra.Deployment: kubernetes + ".envoyDeployment", infra.DaemonSet: kubernetes + ".envoyDaemonSet",
		infra.Service: kubernetes + ".envoyService", infra.Autoscaler: kubernetes + ".envoyHpa", infra.Budget: kubernetes + ".envoyPDB",
	}
}

// check finds what of all this cannot be done.
func (x *reader) check() {
	for _, p := range infra.Check(&x.out.Parameters) {
		x.Bad(kindPaths()[p.Kind], "%s", p.Message)
	}
}

// provider says how proxies are run in a cluster.
func (x *reader) provider(p *api.ProxyProvider) {
	x.Unsupported("provider.host", p.Host, "proxies of a host are those of weir run")
	k := p.Kubernetes
	if k == nil {
		return
	}
	if k.EnvoyDeployment != nil && k.EnvoyDaemonSet != nil {
		x.Bad(kubernetes, "give one of envoyDeployment and envoyDaemonSet")
	}
	switch {
	case k.EnvoyDaemonSet != nil:
		x.daemonSet(k.EnvoyDaemonSet)
		if k.EnvoyHpa != nil {
			x.Bad(kubernetes+".envoyHpa", "a DaemonSet has one proxy on each node: leave it out, or give envoyDeployment")
			return
		}
	case k.EnvoyDeployment != nil:
		x.deployment(k.EnvoyDeployment)
	}
	if s := k.EnvoyService; s != nil {
		x.service(s)
	}
	if h := k.EnvoyHpa; h != nil {
		x.autoscaler(h)
	}
	if b := k.EnvoyPDB; b != nil {
		x.budget(b)
	}
	x.Unsupported(kubernetes+".useListenerPortAsContainerPort", k.UseListenerPortAsContainerPort, "ports below 1024 are bound at others")
	if a := k.EnvoyServiceAccount; a != nil {
		x.Unsupported(kubernetes+".envoyServiceAccount.name", a.Name, "the control plane knows proxies by the account that is called after their Gateway and its class")
	}
}

// set has an object of a kind be as value says besides, without what value leaves empty.
func (x *reader) set(kind string, value map[string]any) {
	if value = filled(value); len(value) > 0 {
		x.out.Parameters.Patches = append(x.out.Parameters.Patches, v1alpha1.ObjectPatch{Kind: kind, Value: value})
	}
}

// filled returns a map without what is empty in it.
func filled(m map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		switch t := v.(type) {
		case map[string]any:
			if t = filled(t); len(t) > 0 {
				out[k] = t
			}
		case map[string]string:
			if len(t) > 0 {
				out[k] = t
			}
		case []map[string]any:
			if len(t) > 0 {
				out[k] = t
			}
		case []string:
			if len(t) > 0 {
				out[k] = t
			}
		case *string:
			if t != nil {
				out[k] = *t
			}
		case *bool:
			if t != nil {
				out[k] = *t
			}
		default:
			out[k] = v
		}
	}
	return out
}

// instead is a map that takes the place of what the object has.
func instead(m map[string]any) map[string]any {
	if len(m) == 0 {
		return nil
	}
	out := maps.Clone(m)
	out["$patch"] = "replace"
	return out
}

// named calls the object of a kind.
func (x *reader) named(kind string, name *string) {
	if name != nil {
		if x.out.Parameters.Names == nil {
			x.out.Parameters.Names = map[string]string{}
		}
		x.out.Parameters.Names[kind] = *name
	}
}

func (x *reader) deployment(d *api.DeploymentSpec) {
	at := kubernetes + ".envoyDeployment"
	x.out.Parameters.Replicas = d.Replicas
	x.set(infra.Deployment, map[string]any{"spec": map[string]any{
		"strategy": instead(d.Strategy), "template": map[string]any{"spec": map[string]any{"initContainers": d.InitContainers}},
	}})
	x.pods(at, infra.Deployment, d.Pod, d.Container)
	x.named(infra.Deployment, d.Name)
	x.patch(at, infra.Deployment, d.Patch)
}

func (x *reader) daemonSet(d *api.DaemonSetSpec) {
	at, kind := kubernetes+".envoyDaemonSet", infra.DaemonSet
	x.out.Parameters.Workload = &kind
	x.set(kind, map[string]any{"spec": map[string]any{"updateStrategy": d.Strategy}})
	x.pods(at, kind, d.Pod, d.Container)
	x.named(kind, d.Name)
	x.patch(at, kind, d.Patch)
}

// pods are as those of a workload are to be.
func (x *reader) pods(at, kind string, p *api.PodSpec, c *api.ContainerSpec) {
	if p != nil {
		x.out.Parameters.NodeSelector = p.NodeSelector
		x.set(kind, map[string]any{"spec": map[string]any{"template": map[string]any{
			"metadata": map[string]any{"annotations": p.Annotations, "labels": p.Labels},
			"spec": map[string]any{
				"securityContext": instead(p.SecurityContext), "affinity": p.Affinity, "tolerations": p.Tolerations, "volumes": p.Volumes,
				"imagePullSecrets": p.ImagePullSecrets, "topologySpreadConstraints": p.TopologySpreadConstraints, "priorityClassName": p.PriorityClassName,
			},
		}}})
	}
	if c == nil {
		return
	}
	at += ".container"
	x.image(at+".image", c.Image)
	x.Unsupported(at+".imageRepository", c.ImageRepository, "give image, or weir control --proxy-image")
	own := map[string]any{"env": c.Env, "securityContext": instead(c.SecurityContext), "volumeMounts": c.VolumeMounts}
	if r := c.Resources; r != nil {
		x.out.Parameters.Resources = &v1alpha1.Resources{Requests: x.quantities(at+".resources.requests", r.Requests), Limits: x.quantities(at+".resources.limits", r.Limits)}
		own["resources"] = map[string]any{"claims": r.Claims}
	}
	if own = filled(own); len(own) > 0 {
		own["name"] = infra.Container
		x.set(kind, map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []map[string]any{own}}}}})
	}
}

// image takes an image for the proxies, unless it is Envoy's, whose command line and
// account are others.
func (x *reader) image(at string, image *string) {
	if image == nil {
		return
	}
	repository, _, _ := strings.Cut((*image)[strings.LastIndex(*image, "/")+1:], "@")
	repository, _, _ = strings.Cut(repository, ":")
	if repository == "envoy" || strings.HasPrefix(repository, "envoy-") {
		x.Note(at, "is not used: it is Envoy's, and proxies are Weir's: give an image of Weir, or weir control --proxy-image")
		return
	}
	x.out.Parameters.Image = image
}

func (x *reader) quantities(at string, from map[string]api.Quantity) map[string]string {
	if len(from) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if _, err := resource.ParseQuantity(from[name].String()); err != nil {
			x.Bad(at+"."+name, "%q is not a quantity, such as 500m or 1Gi", from[name])
			continue
		}
		out[name] = from[name].String()
	}
	return out
}

func (x *reader) service(s *api.ServiceSpec) {
	at := kubernetes + ".envoyService"
	out := &v1alpha1.ServiceParameters{Annotations: s.Annotations, LoadBalancerClass: s.LoadBalancerClass, ExternalTrafficPolicy: s.ExternalTrafficPolicy}
	switch ptr.Deref(s.Type, "LoadBalancer") {
	case "LoadBalancer", "ClusterIP", "NodePort":
		out.Type = s.Type
	default:
		x.Bad(at+".type", "is %q: there are ClusterIP, LoadBalancer and NodePort", *s.Type)
	}
	x.out.Parameters.Service = out
	x.set(infra.Service, map[string]any{
		"metadata": map[string]any{"labels": s.Labels},
		"spec": map[string]any{
			"allocateLoadBalancerNodePorts": s.AllocateLoadBalancerNodePorts, "loadBalancerSourceRanges": s.LoadBalancerSourceRanges, "loadBalancerIP": s.LoadBalancerIP,
		},
	})
	x.named(infra.Service, s.Name)
	x.patch(at, infra.Service, s.Patch)
}

func (x *reader) autoscaler(h *api.HpaSpec) {
	at := kubernetes + ".envoyHpa"
	if h.MaxReplicas == nil {
		x.Bad(at+".maxReplicas", "is required")
	}
	to := &x.out.Parameters
	to.Autoscaling, to.Replicas = &v1alpha1.AutoscalingParameters{MinReplicas: h.MinReplicas, MaxReplicas: ptr.Deref(h.MaxReplicas, 1)}, nil
	x.set(infra.Autoscaler, map[string]any{"spec": map[string]any{"metrics": h.Metrics, "behavior": h.Behavior}})
	x.named(infra.Autoscaler, h.Name)
	x.patch(at, infra.Autoscaler, h.Patch)
}

func (x *reader) budget(b *api.PDBSpec) {
	at := kubernetes + ".envoyPDB"
	if b.MinAvailable != nil && b.MaxUnavailable != nil {
		x.Bad(at, "give one of minAvailable and maxUnavailable")
	}
	x.out.Parameters.DisruptionBudget = &v1alpha1.DisruptionBudgetParameters{}
	spec := map[string]any{"maxUnavailable": nil}
	switch {
	case b.MaxUnavailable != nil:
		spec["maxUnavailable"] = count(*b.MaxUnavailable)
	case b.MinAvailable != nil:
		spec["minAvailable"] = count(*b.MinAvailable)
	case b.Patch == nil:
		x.Bad(at, "give minAvailable or maxUnavailable")
	}
	x.set(infra.Budget, map[string]any{"spec": spec})
	x.named(infra.Budget, b.Name)
	x.patch(at, infra.Budget, b.Patch)
}

// count is a number, or a percentage.
func count(q api.Quantity) any {
	if n, err := strconv.Atoi(q.String()); err == nil {
		return n
	}
	return q.String()
}

// patch has an object of a kind changed. Weir's Pods have one container, which is
// Envoy's there; they have none that tells Envoy to drain.
func (x *reader) patch(at, kind string, p *api.Patch) {
	if p == nil {
		return
	}
	at += ".patch"
	value := maps.Clone(p.Value)
	pod, _ := inside(value, "spec", "template", "spec")
	if containers, ok := pod["containers"].([]any); ok {
		containers = slices.Clone(containers)
		containers = slices.DeleteFunc(containers, func(c any) bool {
			m, ok := c.(map[string]any)
			if ok && m["name"] == "shutdown-manager" {
				x.Note(at+".value", "the container shutdown-manager is not supported: proxies drain by themselves")
				return true
			}
			return false
		})
		for i, c := range containers {
			if m, ok := c.(map[string]any); ok && m["name"] == "envoy" {
				m = maps.Clone(m)
				m["name"] = infra.Container
				if image, ok := m["image"].(string); ok {
					delete(m, "image")
					x.image(at+".value", &image)
				}
				containers[i] = m
			}
		}
		pod["containers"] = containers
	}
	x.out.Parameters.Patches = append(x.out.Parameters.Patches, v1alpha1.ObjectPatch{Kind: kind, Type: p.Type, Value: value})
}

// inside returns the map at a path of another, of which that is a copy then.
func inside(m map[string]any, path ...string) (map[string]any, bool) {
	for _, step := range path {
		next, ok := m[step].(map[string]any)
		if !ok {
			return nil, false
		}
		next = maps.Clone(next)
		m[step], m = next, next
	}
	return m, true
}

// families are the addresses that the Service has. Proxies listen for both.
func (x *reader) families(family *string) {
	policies := map[string][]string{"IPv4": {"IPv4"}, "IPv6": {"IPv6"}, "DualStack": {"IPv4", "IPv6"}}
	list, ok := policies[ptr.Deref(family, "")]
	switch {
	case family == nil:
		return
	case !ok:
		x.Bad("ipFamily", "is %q: there are IPv4, IPv6 and DualStack", *family)
		return
	}
	policy := "SingleStack"
	if len(list) > 1 {
		policy = "RequireDualStack"
	}
	x.set(infra.Service, map[string]any{"spec": map[string]any{"ipFamilies": list, "ipFamilyPolicy": policy}})
}

// backendTLS says what backends are shown. The rest of it is the backends' own to say.
func (x *reader) backendTLS(t *api.ProxyBackendTLS) {
	const instead = "set it in spec.tls of a Backend"
	x.Unsupported("backendTLS.minVersion", t.MinVersion, instead)
	x.Unsupported("backendTLS.maxVersion", t.MaxVersion, instead)
	x.Unsupported("backendTLS.ciphers", t.Ciphers, instead)
	x.Unsupported("backendTLS.ecdhCurves", t.ECDHCurves, instead)
	x.Unsupported("backendTLS.signatureAlgorithms", t.SignatureAlgorithms, "all that are known are offered")
	x.Unsupported("backendTLS.alpnProtocols", t.ALPNProtocols, instead)
	x.Unsupported("backendTLS.fingerprints", t.Fingerprints, "they are taken of clients, and not of backends")
	if t.ClientCertificateRef != nil && x.out.Owner == (source.Name{}) && t.ClientCertificateRef.Namespace == nil {
		x.Note("backendTLS.clientCertificateRef", "the default of all has no namespace, and backends are shown no certificate: give the reference a namespace")
		return
	}
	x.out.Certificate = t.ClientCertificateRef
}

// process says how each proxy is started, and how it ends.
func (x *reader) process(s *api.EnvoyProxySpec) {
	to := &x.out.Parameters
	if n := s.Concurrency; n != nil {
		if *n < 0 {
			x.Bad("concurrency", "is %d: give the number of workers, or 0 for one for each CPU", *n)
		} else {
			to.Args = append(to.Args, "--concurrency", fmt.Sprint(*n))
		}
	}
	if l := s.Logging; l != nil {
		x.logging(l.Level)
	}
	if d := s.Shutdown; d != nil {
		if t := x.Duration("shutdown.drainTimeout", d.DrainTimeout); t != nil {
			seconds := int32(t.GetSeconds())
			to.DrainSeconds = &seconds
		}
		x.preStop(d)
	}
	x.arguments(s.ExtraArgs)
	if b := s.Bootstrap; b != nil {
		x.bootstrap(b)
	}
}

// longestStop bounds how long a proxy that is to end goes on as before, in seconds.
const longestStop = 3600

// preStop is how long a proxy that is to end goes on as before, in whole seconds: until then checks of
// its health succeed, and it takes connections.
func (x *reader) preStop(d *api.Shutdown) {
	if d.MinDrainDuration == nil && d.HealthCheckFailureDelay == nil {
		return
	}
	least, delay := x.Duration("shutdown.minDrainDuration", d.MinDrainDuration), x.Duration("shutdown.healthCheckFailureDelay", d.HealthCheckFailureDelay)
	sum := least.AsDuration() + delay.AsDuration()
	if least == nil {
		sum += minDrain
	}
	seconds := math.Ceil(sum.Seconds())
	if seconds > longestStop {
		x.Bad("shutdown", "minDrainDuration and healthCheckFailureDelay are %s together: there may be %d s", sum, longestStop)
		return
	}
	x.out.Parameters.PreStopSeconds = ptr.To(int32(seconds))
}

// minDrain is what Envoy Gateway waits at least.
const minDrain = 10 * time.Second

// arguments are those of Envoy's command line, as far as they are a user's to give.
func (x *reader) arguments(args []string) {
	known := arguments()
	for i := 0; i < len(args); i++ {
		at, arg := fmt.Sprintf("extraArgs[%d]", i), args[i]
		name, _, given := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		name, _, spaced := strings.Cut(name, " ")
		takes, ok := known[name]
		list := []string{arg}
		if (takes || !ok) && !given && !spaced && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			i++ // Its value.
			list = append(list, args[i])
		}
		if !ok || !strings.HasPrefix(arg, "-") {
			x.Note(at, "%q is not supported: there are %s", arg, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			continue
		}
		x.out.Parameters.Args = append(x.out.Parameters.Args, list...)
	}
}

// arguments are the flags of weir proxy that do not change where it is or whom it asks,
// and whether they take a value.
func arguments() map[string]bool {
	return map[string]bool{
		"concurrency": true, "log-level": true, "l": true, "component-log-level": true, "log-format": true, "service-zone": true,
		"drain-time-s": true, "drain-strategy": true, "cpuset-threads": false, "disable-hot-restart": false, "max-stats": true, "max-obj-name-len": true,
		"file-flush-interval-msec": true, "file-flush-min-size-kb": true, "reject-unknown-dynamic-fields": false, "ignore-unknown-dynamic-fields": false,
		"allow-unknown-static-fields": false, "skip-deprecated-logs": false, "enable-fine-grain-logging": false, "parent-shutdown-time-s": true,
	}
}

// bootstrap changes what proxies start from.
func (x *reader) bootstrap(b *api.ProxyBootstrap) {
	kind := ptr.Deref(b.Type, "Replace")
	out := &v1alpha1.BootstrapParameters{Type: &kind, Value: b.Value}
	switch {
	case kind == "JSONPatch" && len(b.JSONPatches) == 0:
		x.Bad("bootstrap.jsonPatches", "is required")
		return
	case kind != "JSONPatch" && b.Value == nil:
		x.Bad("bootstrap.value", "is required")
		return
	}
	for i, p := range b.JSONPatches {
		at := fmt.Sprintf("bootstrap.jsonPatches[%d]", i)
		if p.JSONPath != nil || p.Path == nil {
			x.Bad(at+".jsonPath", "is not supported: give path, such as /stats_config")
			return
		}
		if ofEnvoyGateway.MatchString(*p.Path) {
			x.Note(at+".path", "has no effect: the resources at this place of Envoy Gateway's bootstrap are not in that of Weir's proxies")
			continue
		}
		out.JSONPatches = append(out.JSONPatches, v1alpha1.JSONPatchOperation{Op: p.Op, Path: *p.Path, From: p.From, Value: p.Value})
	}
	if kind != "JSONPatch" || len(out.JSONPatches) > 0 {
		x.out.Parameters.Bootstrap = out
	}
}

// ofEnvoyGateway are paths of its bootstrap: of the clusters and listeners that it has itself.
var ofEnvoyGateway = regexp.MustCompile(`^/static_resources/(clusters|listeners)/[0-9]`)

// logging is how much proxies tell of themselves: as the component "default" says and, of
// others, as they say.
func (x *reader) logging(levels map[string]string) {
	known := map[string]string{"trace": "trace", "debug": "debug", "info": "info", "warn": "warning", "error": "error", "critical": "critical", "off": "off"}
	var components []string
	for _, component := range slices.Sorted(maps.Keys(levels)) {
		level, ok := known[levels[component]]
		switch {
		case !ok:
			x.Bad("logging.level."+component, "is %q: there are trace, debug, info, warn and error", levels[component])
		case component == "default":
			x.out.Parameters.LogLevel = &level
		default:
			components = append(components, component+":"+level)
		}
	}
	if len(components) > 0 {
		x.out.Parameters.Args = append(x.out.Parameters.Args, "--component-log-level", strings.Join(components, ","))
	}
}
