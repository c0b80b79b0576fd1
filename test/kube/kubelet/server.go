// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// What a stream of exec or of port forwarding may do: be idle, and take until it is there. The kubelet's own defaults.
const (
	streamIdle    = 4 * time.Hour
	streamCreated = 30 * time.Second
)

// listen serves the kubelet's API.
func (k *Kubelet) listen() (io.Closer, error) {
	certificate, err := selfSigned(k.Node, net.IP(k.Address.AsSlice()))
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(k.Address.String(), strconv.Itoa(Port)))
	if err != nil {
		return nil, fmt.Errorf("listen for the kubelet's API: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.serveExec)
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.servePortForward)
	s := &http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(k.Log.Handler(), slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}})); !errors.Is(err, http.ErrServerClosed) {
			k.Log.Error("serve the kubelet's API", "error", err)
		}
	}()
	return closer(func() error { err := s.Close(); <-done; return err }), nil
}

type closer func() error

func (c closer) Close() error { return c() }

func selfSigned(name string, address net.IP) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{address},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// asked finds the container that a request is about, or answers that there is none.
func (k *Kubelet) asked(w http.ResponseWriter, r *http.Request) *unit {
	pod := k.find(r.PathValue("namespace"), r.PathValue("pod"))
	if pod == nil {
		http.Error(w, "no such pod runs here", http.StatusNotFound)
		return nil
	}
	u := pod.unit(r.PathValue("container"))
	if u == nil {
		http.Error(w, "the pod has no such container", http.StatusNotFound)
	}
	return u
}

func (k *Kubelet) serveLogs(w http.ResponseWriter, r *http.Request) {
	u := k.asked(w, r)
	if u == nil {
		return
	}
	q := r.URL.Query()
	what := wish{tail: -1, follow: q.Get("follow") == "true", timestamps: q.Get("timestamps") == "true"}
	var err error
	if s := q.Get("tailLines"); s != "" {
		what.tail, err = strconv.Atoi(s)
	}
	if s := q.Get("sinceSeconds"); s != "" && err == nil {
		var n int
		n, err = strconv.Atoi(s)
		what.since = time.Now().Add(-time.Duration(n) * time.Second)
	}
	if s := q.Get("sinceTime"); s != "" && err == nil {
		what.since, err = time.Parse(time.RFC3339, s)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	flush := http.NewResponseController(w)
	u.output.write(r.Context(), w, what, func() { _ = flush.Flush() }) // Who has gone is told of by the context.
}

func (k *Kubelet) serveExec(w http.ResponseWriter, r *http.Request) {
	u := k.asked(w, r)
	if u == nil {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, executor{u}, u.w.name, string(u.w.uid), u.spec.Name, r.URL.Query()["command"], options, streamIdle, streamCreated, remotecommand.SupportedStreamingProtocols)
}

// An executor executes commands in a container, as ServeExec asks for.
type executor struct{ u *unit }

// ExecInContainer executes one command.
func (e executor) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, err io.WriteCloser, tty bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	if tty {
		return errors.New("the test kubelet has no terminals: leave --tty out")
	}
	failed := e.u.execute(ctx, command, in, out, err)
	var exit *exec.ExitError
	if errors.As(failed, &exit) {
		return utilexec.CodeExitError{Err: failed, Code: exit.ExitCode()}
	}
	return failed
}

// execute runs a command in the container's namespaces and with its environment.
func (u *unit) execute(ctx context.Context, command []string, in io.Reader, out, failed io.Writer) error {
	u.mu.Lock()
	pid := u.pid
	u.mu.Unlock()
	if pid == 0 {
		return errors.New("the container does not run")
	}
	env, err := u.w.environment(u.spec)
	if err != nil {
		return err
	}
	what, err := u.describe()
	if err != nil {
		return err
	}
	args := []string{"--target", strconv.Itoa(pid), "--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wd"}
	if what.User != 0 || what.Group != 0 {
		args = append(args, "--setuid", strconv.Itoa(what.User), "--setgid", strconv.Itoa(what.Group))
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(append(args, "--"), command...)...)
	cmd.Env = os.Environ()[:0]
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, failed
	cmd.WaitDelay = time.Second // Its input may never end.
	return cmd.Run()
}

func (k *Kubelet) servePortForward(w http.ResponseWriter, r *http.Request) {
	u := k.asked(w, r)
	if u == nil {
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, forwarder{u}, u.w.name, string(types.UID(u.w.uid)), options, streamIdle, streamCreated, portforward.SupportedProtocols)
}

// A forwarder joins streams to ports of a pod, as ServePortForward asks for.
type forwarder struct{ u *unit }

// PortForward joins one stream to one port, until either ends.
func (f forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(f.u.w.address.String(), strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer c.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, stream)
		sent <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
	}()
	_, err = io.Copy(stream, c)
	stream.Close()
	return errors.Join(err, <-sent)
}
