// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/test/kube/podinit/container"
)

// The wait before a container starts again: it doubles from one to the other. Kubernetes' own are 10 s and 5 min.
const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// A unit is one container of a pod: what it is, and what has become of it.
type unit struct {
	w      *worker
	spec   *corev1.Container
	init   bool
	output *output
	up     chan struct{} // closed once the container has started, and its startup probe has passed, for the first time

	mu     sync.Mutex
	state  corev1.ContainerState
	last   corev1.ContainerState // of the run before
	starts int32
	isUp   bool // this run has started
	ready  bool
	pid    int // 0 when it does not run
}

func newUnit(w *worker, c *corev1.Container, init bool) *unit {
	file := filepath.Join(w.k.Logs, w.namespace+"_"+w.name+"_"+c.Name+".log")
	return &unit{w: w, spec: c, init: init, output: newOutput(file), up: make(chan struct{}), state: waiting("PodInitializing", "")}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// sidecar tells whether it is an init container that goes on running.
func (u *unit) sidecar() bool {
	return u.init && u.spec.RestartPolicy != nil && *u.spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// again tells whether a container that has ended in a way starts once more.
func (u *unit) again(status int) bool {
	policy := u.w.spec.RestartPolicy
	if u.init && !u.sidecar() && policy == corev1.RestartPolicyAlways {
		policy = corev1.RestartPolicyOnFailure
	}
	return u.sidecar() || policy == corev1.RestartPolicyAlways || policy == corev1.RestartPolicyOnFailure && status != 0
}

// run runs the container until it has ended for good or its pod ends; a sidecar also ends when the others have. It
// tells whether the container ended well.
func (u *unit) run(others <-chan struct{}) bool {
	backoff := minBackoff
	ending := (<-chan struct{})(u.w.ending)
	if u.sidecar() {
		// A sidecar is there while others run, even those that end slowly.
		ending = others
	}
	for {
		began := time.Now()
		status := u.once(ending)
		select {
		case <-ending:
			return status == 0
		default:
		}
		if !u.again(status) {
			return status == 0
		}
		if time.Since(began) > maxBackoff {
			backoff = minBackoff
		}
		u.set(func() {
			if u.state.Terminated != nil {
				u.last = u.state
				u.state = waiting("CrashLoopBackOff", fmt.Sprintf("starts again after %v", backoff))
			}
		})
		select {
		case <-ending:
			return false
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// set changes what is known of the container, and has it reported.
func (u *unit) set(change func()) {
	u.mu.Lock()
	change()
	u.mu.Unlock()
	u.w.touch()
}

// once starts the container and returns its status when it has ended.
func (u *unit) once(ending <-chan struct{}) int {
	cmd, ended, err := u.start()
	if err != nil {
		u.set(func() { u.state = waiting("CreateContainerError", err.Error()) })
		return container.Unstarted
	}
	began := metav1.Now()
	ctx, cancel := context.WithCancel(u.w.ctx)
	var probes sync.WaitGroup
	sick := make(chan string, 1)
	u.set(func() {
		u.pid, u.starts, u.isUp = cmd.Process.Pid, u.starts+1, false
		u.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}}
	})
	probes.Go(func() { u.attend(ctx, sick) })
	select {
	case <-ended:
	case reason := <-sick:
		u.w.k.Log.Info("a container is ended for its health", "pod", u.w.namespace+"/"+u.w.name, "container", u.spec.Name, "reason", reason)
		u.stop(cmd, ended, u.grace())
	case <-ending:
		u.w.mu.Lock()
		grace := u.w.grace
		u.w.mu.Unlock()
		u.stop(cmd, ended, grace)
	}
	cancel()
	probes.Wait()
	status := cmd.ProcessState.ExitCode()
	reason := "Completed"
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		status = 128 + int(ws.Signal())
	}
	if status != 0 {
		reason = "Error"
	}
	u.set(func() {
		u.pid, u.ready, u.isUp = 0, false, false
		u.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: int32(status), Reason: reason, StartedAt: began, FinishedAt: metav1.Now(), ContainerID: fmt.Sprintf("process://%d", cmd.Process.Pid)}}
	})
	return status
}

// grace is how long the container may take to end when the pod does not.
func (u *unit) grace() time.Duration {
	if g := u.w.spec.TerminationGracePeriodSeconds; g != nil {
		return time.Duration(*g) * time.Second
	}
	return 30 * time.Second
}

// stop ends a container: its hook, SIGTERM, and SIGKILL when the grace is over or the pod must end at once.
func (u *unit) stop(cmd *exec.Cmd, ended <-chan struct{}, grace time.Duration) {
	over := time.NewTimer(grace)
	defer over.Stop()
	ctx, cancel := context.WithTimeout(u.w.ctx, grace)
	defer cancel()
	if l := u.spec.Lifecycle; l != nil && l.PreStop != nil {
		if err := u.hook(ctx, l.PreStop); err != nil && ctx.Err() == nil {
			u.output.add("preStop: " + err.Error() + "\n")
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // It may have ended by itself.
	select {
	case <-ended:
	case <-over.C:
	case <-u.w.ctx.Done():
	}
	_ = cmd.Process.Kill()
	<-ended
}

// start starts the container; ended is closed when it and all that reads of it have.
func (u *unit) start() (cmd *exec.Cmd, ended <-chan struct{}, err error) {
	what, err := u.describe()
	if err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(what)
	if err != nil {
		return nil, nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	in, put, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(err, r.Close(), w.Close())
	}
	cmd = exec.Command(u.w.k.Podinit)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = w, w, []*os.File{in}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	err = cmd.Start()
	w.Close()
	in.Close()
	if err != nil {
		return nil, nil, errors.Join(err, r.Close(), put.Close())
	}
	_, _ = put.Write(text) // If it cannot be written, podinit says so and ends.
	put.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.output.read(r)
		r.Close()
		_ = cmd.Wait() // Its status is in ProcessState.
	}()
	return cmd, done, nil
}

// describe says what podinit is to make.
func (u *unit) describe() (container.Container, error) {
	w, c := u.w, u.spec
	image, err := w.k.image(c.Image)
	if err != nil {
		return container.Container{}, err
	}
	env, err := w.environment(c)
	if err != nil {
		return container.Container{}, err
	}
	root := filepath.Join(w.dir, "roots", c.Name)
	if err := makeDir(root); err != nil {
		return container.Container{}, err
	}
	out := container.Container{
		Root: root, Network: w.networkFile, Hostname: w.name, Dir: c.WorkingDir, User: w.user(), Group: w.group(),
	}
	if s := w.spec.SecurityContext; s != nil && s.RunAsGroup != nil {
		out.Group = int(*s.RunAsGroup)
	}
	if s := c.SecurityContext; s != nil {
		if s.RunAsUser != nil {
			out.User = int(*s.RunAsUser)
		}
		if s.RunAsGroup != nil {
			out.Group = int(*s.RunAsGroup)
		}
		out.ReadOnlyRoot = s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem
	}
	for _, name := range slices.Sorted(maps.Keys(image.Files)) {
		out.Mounts = append(out.Mounts, container.Mount{Source: image.Files[name], Target: name, ReadOnly: true})
	}
	for _, name := range []string{"resolv.conf", "hosts", "hostname"} {
		out.Mounts = append(out.Mounts, container.Mount{Source: filepath.Join(w.dir, "etc", name), Target: "/etc/" + name})
	}
	if out.Mounts, err = u.mounts(out.Mounts, env); err != nil {
		return container.Container{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out.Env = append(out.Env, name+"="+env[name])
	}
	command, args := c.Command, c.Args
	if len(command) == 0 {
		command = image.Entrypoint
		if len(args) == 0 {
			args = image.Arguments
		}
	}
	for _, arg := range slices.Concat(command, args) {
		out.Command = append(out.Command, expand(arg, env))
	}
	return out, nil
}

// mounts adds what the container mounts of the pod's volumes.
func (u *unit) mounts(mounts []container.Mount, env map[string]string) ([]container.Mount, error) {
	for _, m := range u.spec.VolumeMounts {
		i := slices.IndexFunc(u.w.spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			return nil, fmt.Errorf("there is no volume %q to mount", m.Name)
		}
		source := u.w.volumeDir(m.Name)
		if h := u.w.spec.Volumes[i].HostPath; h != nil {
			source = h.Path
		}
		sub := expand(m.SubPathExpr, env)
		if sub == "" {
			sub = m.SubPath
		}
		mounts = append(mounts, container.Mount{Source: filepath.Join(source, sub), Target: m.MountPath, ReadOnly: m.ReadOnly})
	}
	return mounts, nil
}

// image finds an image by its name without tag and digest.
func (k *Kubelet) image(name string) (Image, error) {
	bare, _, _ := strings.Cut(name, "@")
	if i := strings.LastIndex(bare, ":"); i > strings.LastIndex(bare, "/") {
		bare = bare[:i]
	}
	if image, ok := k.Images[bare]; ok {
		return image, nil
	}
	return Image{}, fmt.Errorf("the test kubelet has no image %s: only %s", bare, strings.Join(slices.Sorted(maps.Keys(k.Images)), ", "))
}
