// SPDX-License-Identifier: Apache-2.0

package infra

import (
	"cmp"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
)

// Options are what all Gateways' proxies have alike.
type Options struct {
	// Image of proxies whose parameters name none.
	Image string
	// Server is where the control plane listens for proxies, host:port.
	Server string
	// CA are the authorities of the control plane's certificate, in PEM.
	CA         string
	Namespaces Namespaces
	// Key keeps what is secret from those who see a hash of it.
	Key []byte
	// Controller is the controllerName of the Gateways' classes.
	Controller string
}

// Audience is who the proxies' tokens are for.
const Audience = "weir-control"

// NodeMetadata is where a proxy says, in its node.metadata, on which node of Kubernetes it runs.
const NodeMetadata = "NODE_NAME"

// Ports and places within a proxy's Pod.
const (
	configDir = "/etc/weir"
	// Others may add volumes, of names as people choose them.
	configVolume = "weir-config"
	tokenVolume  = "weir-token"
	tokenDir     = "/var/run/secrets/weir.dev"
	redisVolume  = "weir-redis"
	redisDir     = "/etc/weir-redis"
	nobody       = 65532 // The user of the image.
	preStop      = 5     // Seconds that the cluster has to send no new connections to a Pod that ends.
	drain        = 60
	tokenLives   = 3600
)

// An Object is one to apply, or to remove if it has no Body.
type Object struct {
	// Group, Version and Resource name its Kind in paths of the API.
	Group, Version, Resource, Kind string
	Namespace, Name                string
	Body                           map[string]any
	// Of one that has been applied, Gateway is the fleet whose it is. UID, if it is not "", is that of
	// the object to remove: another of the name stays.
	Gateway source.Name
	UID     types.UID
}

// An Object that has been applied tells by annotations of which Gateway it is, and of which
// control plane: several may be in one cluster.
const (
	GatewayAnnotation    = "weir.dev/gateway"
	ControllerAnnotation = "weir.dev/controller"
)

// Selector finds the Objects that have been applied by their labels.
const Selector = ManagedBy + "=" + ManagedByWeir + "," + nameLabel + "=" + proxyName

const (
	nameLabel = "app.kubernetes.io/name"
	proxyName = "weir-proxy"
)

// Kinds returns what the proxies of a Gateway may have, each as an Object without a name.
func Kinds() []Object {
	return []Object{
		{Version: "v1", Resource: "serviceaccounts", Kind: ServiceAccount}, {Version: "v1", Resource: "configmaps", Kind: configMap},
		{Version: "v1", Resource: "secrets", Kind: secret},
		{Group: "apps", Version: "v1", Resource: "deployments", Kind: Deployment}, {Group: "apps", Version: "v1", Resource: "daemonsets", Kind: DaemonSet},
		{Version: "v1", Resource: "services", Kind: Service}, {Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers", Kind: Autoscaler},
		{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets", Kind: Budget},
	}
}

const (
	configMap = "ConfigMap"
	// secret is there only if proxies have something to show Redis: who has no right to write
	// Secrets needs none before.
	secret = "Secret"
)

type (
	fields = map[string]any
	list   = []any
)

// Objects returns what makes the proxies, in the order to apply it. It fails if the
// parameters ask for what cannot be: see Check.
func (p *Plan) Objects(o Options) ([]Object, error) {
	out, problems := p.make(o)
	if len(problems) > 0 {
		return nil, &problems[0]
	}
	return out, nil
}

func (p *Plan) make(o Options) (out []Object, problems []Problem) {
	at := o.Namespaces.Place(p.Gateway, p.Class)
	w := &writer{plan: p, o: o, namespace: at.Namespace, name: at.Name}
	bootstrap, err := w.bootstrap()
	if err != nil {
		problems = append(problems, Problem{"", err.Error()})
	}
	mark := graph.Digest(8, bootstrap+o.CA+p.Counting.mark(o.Key))
	for _, kind := range Kinds() {
		if kind.Kind == secret && p.Counting.secret() == nil {
			continue
		}
		o := kind
		o.Namespace, o.Name = w.namespace, w.called(kind.Kind)
		if body, annotations := w.body(kind.Kind, bootstrap, mark); body != nil {
			w.finish(&o, annotations, body)
		}
		o, problem := w.patched(o)
		if problem != nil {
			problems = append(problems, *problem)
		}
		out = append(out, o)
	}
	return out, problems
}

// called is the name of the object of a kind.
func (w *writer) called(kind string) string {
	if kind == secret {
		return w.name + "-redis"
	}
	if n := w.plan.Parameters.Names[kind]; n != "" && kind != ServiceAccount && kind != configMap {
		return n
	}
	return w.name
}

// body is what an object of a kind says besides its metadata; nil if there is to be none.
func (w *writer) body(kind, bootstrap, mark string) (body fields, annotations map[string]string) {
	switch kind {
	case ServiceAccount:
		return fields{"automountServiceAccountToken": false}, nil
	case configMap:
		return fields{"data": fields{"bootstrap.yaml": bootstrap, "ca.crt": w.o.CA}}, nil
	case secret:
		return w.plan.Counting.secret(), nil
	case w.workload():
		return fields{"spec": w.proxies(kind, mark)}, nil
	case Service:
		return w.service()
	case Autoscaler:
		return w.autoscaler(), nil
	case Budget:
		return w.budget(), nil
	}
	return nil, nil
}

// workload is the kind that the Pods are of.
func (w *writer) workload() string { return value(w.plan.Parameters.Workload, Deployment) }

type writer struct {
	plan            *Plan
	o               Options
	namespace, name string
}

// finish gives an object its body and metadata. Its owner is the Gateway, which is in the
// same namespace or cannot be; what several share nobody owns.
func (w *writer) finish(o *Object, annotations map[string]string, body fields) {
	p := w.plan
	all := maps.Clone(annotations)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, p.Annotations)
	all[GatewayAnnotation], all[ControllerAnnotation] = p.Gateway.String(), w.o.Controller
	body["apiVersion"], body["kind"] = o.Version, o.Kind
	if o.Group != "" {
		body["apiVersion"] = o.Group + "/" + o.Version
	}
	meta := fields{"name": o.Name, "namespace": o.Namespace, "labels": w.labels(), "annotations": all}
	if p.UID != "" && w.namespace == p.Gateway.Namespace {
		meta["ownerReferences"] = list{fields{
			"apiVersion": gwapiv1.GroupVersion.String(), "kind": "Gateway", "name": p.Gateway.Name, "uid": string(p.UID),
			"controller": true,
		}}
	}
	body["metadata"], o.Body = meta, body
}

// labels are the Gateway's, and ours, which win.
func (w *writer) labels() map[string]string {
	out := maps.Clone(w.plan.Labels)
	maps.Copy(out, w.selector())
	if w.plan.Class != "" {
		out["gateway.networking.k8s.io/gateway-class-name"] = labelValue(w.plan.Class)
	}
	out[ManagedBy] = ManagedByWeir
	out[nameLabel] = proxyName
	return out
}

// selector finds the proxies' Pods. It can never be another.
func (w *writer) selector() map[string]string {
	out := map[string]string{"app.kubernetes.io/component": "proxy"}
	if w.plan.Gateway.Namespace == "" {
		out["weir.dev/gateway-name"] = w.name
		return out
	}
	out[gwapiv1.GatewayNameLabelKey] = labelValue(w.plan.Gateway.Name)
	if w.o.Namespaces.All != "" {
		out["weir.dev/gateway-namespace"] = w.plan.Gateway.Namespace
	}
	return out
}

// proxies is the workload that the Pods are of.
func (w *writer) proxies(kind, bootstrap string) fields {
	s := w.plan.Parameters
	out := fields{"selector": fields{"matchLabels": w.selector()}}
	if kind == Deployment {
		// One that serves is there before another goes.
		out["strategy"] = fields{"type": "RollingUpdate", "rollingUpdate": fields{"maxUnavailable": 0, "maxSurge": 1}}
	}
	switch {
	case kind == DaemonSet: // Nodes have the number.
	case s.Autoscaling != nil: // It has the number.
	case s.Replicas != nil:
		out["replicas"] = *s.Replicas
	default:
		out["replicas"] = 1
	}
	annotations := maps.Clone(w.plan.Annotations)
	w.scraped(annotations)
	annotations["weir.dev/bootstrap"] = bootstrap // Pods whose bootstrap is another are others.
	seconds, before := value(s.DrainSeconds, drain), value(s.PreStopSeconds, preStop)
	pod := fields{
		"serviceAccountName": w.name, "automountServiceAccountToken": false,
		"terminationGracePeriodSeconds": before + seconds + 5,
		"securityContext": fields{
			"runAsNonRoot": true, "runAsUser": nobody, "runAsGroup": nobody, "fsGroup": nobody, "seccompProfile": fields{"type": "RuntimeDefault"},
		},
		"containers": list{w.container(seconds)},
		"volumes": list{
			fields{"name": configVolume, "configMap": fields{"name": w.name}},
			fields{"name": tokenVolume, "projected": fields{"sources": list{
				fields{"serviceAccountToken": fields{"path": "token", "audience": Audience, "expirationSeconds": tokenLives}},
			}}},
		},
	}
	if w.plan.Counting.secret() != nil {
		pod["volumes"] = append(pod["volumes"].(list), fields{"name": redisVolume, "secret": fields{"secretName": w.called(secret)}})
	}
	if len(s.NodeSelector) > 0 {
		pod["nodeSelector"] = s.NodeSelector
	}
	out["template"] = fields{"metadata": fields{"labels": w.labels(), "annotations": annotations}, "spec": pod}
	return out
}

func (w *writer) container(drainSeconds int32) fields {
	s := w.plan.Parameters
	args := list{
		"proxy", "-c", configDir + "/bootstrap.yaml", "--service-node", "$(POD_NAME)", "--log-level", value(s.LogLevel, "info"),
		"--drain-time-s", fmt.Sprint(drainSeconds),
		// Kubernetes gives Pods the label of their zone since 1.35; before, the control plane knows it by the node.
		"--service-zone", "$(ZONE)", "--config-yaml", fmt.Sprintf(`node: {metadata: {%s: "$(NODE_NAME)"}}`, NodeMetadata),
	}
	args = append(args, w.plan.Counting.args()...)
	for _, a := range s.Args {
		args = append(args, a)
	}
	mounts := list{
		fields{"name": configVolume, "mountPath": configDir, "readOnly": true}, fields{"name": tokenVolume, "mountPath": tokenDir, "readOnly": true},
	}
	if w.plan.Counting.secret() != nil {
		mounts = append(mounts, fields{"name": redisVolume, "mountPath": redisDir, "readOnly": true})
	}
	out := fields{
		"name":            Container,
		"image":           value(s.Image, w.o.Image),
		"args":            args,
		"env":             list{field("POD_NAME", "metadata.name"), field("NODE_NAME", "spec.nodeName"), field("ZONE", "metadata.labels['"+corev1.LabelTopologyZone+"']")},
		"ports":           list{fields{"name": "metrics", "containerPort": graph.ReadyPort, "protocol": "TCP"}},
		"readinessProbe":  fields{"httpGet": fields{"path": "/ready", "port": graph.ReadyPort}, "periodSeconds": 1, "failureThreshold": 3},
		"securityContext": fields{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": fields{"drop": list{"ALL"}}},
		"volumeMounts":    mounts,
	}
	if before := value(s.PreStopSeconds, preStop); before > 0 {
		out["lifecycle"] = fields{"preStop": fields{"sleep": fields{"seconds": before}}}
	}
	if r := s.Resources; r != nil {
		resources := fields{}
		if len(r.Requests) > 0 {
			resources["requests"] = r.Requests
		}
		if len(r.Limits) > 0 {
			resources["limits"] = r.Limits
		}
		out["resources"] = resources
	}
	return out
}

// field is a variable that has a field of the Pod.
func field(name, path string) fields {
	return fields{"name": name, "valueFrom": fields{"fieldRef": fields{"fieldPath": path}}}
}

func (w *writer) service() (body fields, annotations map[string]string) {
	spec := fields{"selector": w.selector(), "type": "LoadBalancer"}
	if s := w.plan.Parameters.Service; s != nil {
		annotations = s.Annotations
		spec["type"] = value(s.Type, "LoadBalancer")
		if spec["type"] == "LoadBalancer" {
			put(spec, "loadBalancerClass", s.LoadBalancerClass)
		}
		if spec["type"] != "ClusterIP" {
			put(spec, "externalTrafficPolicy", s.ExternalTrafficPolicy)
		}
	}
	if w.plan.Address != "" && spec["type"] == "LoadBalancer" {
		spec["loadBalancerIP"] = w.plan.Address
	}
	ports := list{}
	for _, p := range w.plan.Ports {
		protocol, name := "TCP", fmt.Sprintf("tcp-%d", p.Number)
		if p.UDP {
			protocol, name = "UDP", fmt.Sprintf("udp-%d", p.Number)
		}
		ports = append(ports, fields{"name": name, "port": p.Number, "targetPort": p.Bound, "protocol": protocol})
	}
	spec["ports"] = ports
	return fields{"spec": spec}, annotations
}

// autoscaler has the number of proxies follow their load, if that is asked for.
func (w *writer) autoscaler() fields {
	a := w.plan.Parameters.Autoscaling
	if a == nil {
		return nil
	}
	return fields{"spec": fields{
		"scaleTargetRef": fields{"apiVersion": "apps/v1", "kind": Deployment, "name": w.called(Deployment)},
		"minReplicas":    value(a.MinReplicas, 1), "maxReplicas": a.MaxReplicas,
		"metrics": list{fields{"type": "Resource", "resource": fields{
			"name": "cpu", "target": fields{"type": "Utilization", "averageUtilization": value(a.CPUPercent, 80)},
		}}},
	}}
}

// budget bounds how many proxies may be taken away on purpose, if that is asked for.
func (w *writer) budget() fields {
	b := w.plan.Parameters.DisruptionBudget
	if b == nil {
		return nil
	}
	return fields{"spec": fields{"selector": fields{"matchLabels": w.selector()}, "maxUnavailable": b.MaxUnavailable}}
}

func value[T any](p *T, otherwise T) T { return *cmp.Or(p, &otherwise) }

func put[T any](m fields, name string, p *T) {
	if p != nil {
		m[name] = *p
	}
}
