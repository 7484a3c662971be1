package cmd

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/phoenix"
)

type joinOptions struct {
	*client
	topics []string
	stay   bool
}

func newJoinCmd(f *factory) *cobra.Command {
	o := &joinOptions{client: newOneShot(f)}
	c := &cobra.Command{
		Use:   "join TOPIC...",
		Short: "Join, print each answer, leave",
		Long: `Joins every topic, prints one phoenix.channel.joined or phoenix.channel.join_error signal for each,
in the order of the arguments, leaves and closes. With --stay it stays joined once every topic is, until it
is stopped, and prints what happens to the link and the channels; their messages are for phx listen.`,
		Example: `  phx join room:lobby
  phx join room:lobby --stay --max-retries -1
  phx join room:lobby user:123 --join-params @params.json -o payload`,
		Args: someTopicArgs(&o.topics),
	}
	o.own = []option.Option{
		{Flag: "stay", Value: option.Switch(&o.stay),
			Usage: "stay joined, and print the signals of connection and channels, until stopped"},
	}
	c.ValidArgsFunction = o.completeTopics(math.MaxInt)
	o.bind(c, func(ctx context.Context) error { return joinRun(ctx, o) })
	return c
}

// someTopicArgs takes all arguments as topics: at least one, each once.
func someTopicArgs(topics *[]string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return exit.Usagef("for example: "+c.CommandPath()+" room:lobby", "there is no TOPIC to join")
		}
		return topicArgs(topics)(c, args)
	}
}

// topicArgs takes all arguments as topics, each once.
func topicArgs(topics *[]string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		for i, topic := range args {
			if slices.Contains(args[:i], topic) {
				return exit.Usagef("name each topic once", "the topic %q is given twice", topic)
			}
			if topic == "" {
				return exit.Usagef("for example: "+c.CommandPath()+" room:lobby", "a topic is empty")
			}
		}
		*topics = args
		return nil
	}
}

func joinRun(ctx context.Context, o *joinOptions) error {
	if text := o.renderer.form; text != nil {
		text.sentences = true
	}
	options, err := o.options()
	if err != nil {
		return err
	}
	if options.Channels, err = o.channels(ctx, o.topics...); err != nil {
		return err
	}
	if o.stay {
		options.Skip = func(_, _ []byte) bool { return true }
	}
	s, _, err := openSession(ctx, o.connection, options)
	if err != nil {
		return err
	}
	answers := joinAnswers{topics: o.topics, out: o.out, answers: map[string][]phoenix.Event{}, complete: map[string]bool{}}
	answers.session = s
	err = answers.collect(ctx, s)
	if err != nil || !o.stay {
		s.close(ctx, err, answers.joined, nil)
		return err
	}
	err = o.follow(ctx, s, answers.handle)
	var unprinted error
	s.close(ctx, err, answers.joined, func(_ context.Context, ev *phoenix.Event) {
		unprinted = firstError(unprinted, answers.out.print(ev))
	})
	return firstError(err, unprinted)
}

// joinAnswers prints the answer to each join, in the order of the topics.
type joinAnswers struct {
	session *session
	// topics is those whose answer has not been printed.
	topics []string
	out    *output
	// answers are those that are not printed: to the join of a topic, and to its pushes of --on-join. complete has the topics of
	// which there are all.
	answers  map[string][]phoenix.Event
	complete map[string]bool
	joined   []string
	failed   []error
}

// collect reads events until every topic has its answer, and returns the joins that failed.
func (a *joinAnswers) collect(ctx context.Context, s *session) error {
	for len(a.topics) > 0 {
		ev, err := s.next(ctx)
		if err != nil {
			return errors.Join(append(a.failed, err)...)
		}
		a.take(ev)
		if err := a.print(ctx); err != nil {
			return errors.Join(append(a.failed, err)...)
		}
	}
	return errors.Join(a.failed...)
}

// handle prints what happens to connection and channels, up to the first channel that is lost for good.
func (a *joinAnswers) handle(ctx context.Context, ev *phoenix.Event) error {
	return firstError(a.out.print(ev), a.session.lostForGood(ev))
}

// take keeps ev if it is an answer to the join of a topic that has not had its last one.
func (a *joinAnswers) take(ev *phoenix.Event) {
	if ev.Topic == "" || a.complete[ev.Topic] {
		return
	}
	failure := a.session.lostForGood(ev)
	_, onJoin := onJoinEnd(ev)
	switch ev.Detail.(type) {
	case *phoenix.Joined:
		a.answers[ev.Topic] = []phoenix.Event{ev.Clone()} // those of an earlier attempt do not count
	case *phoenix.JoinError:
		if failure != nil {
			a.answers[ev.Topic] = []phoenix.Event{ev.Clone()}
		}
	default:
		if onJoin {
			a.answers[ev.Topic] = append(a.answers[ev.Topic], ev.Clone())
		}
	}
	switch {
	case failure != nil:
		a.failed = append(a.failed, failure)
		a.complete[ev.Topic] = true
	case a.session.completesJoin(ev):
		a.joined = append(a.joined, ev.Topic)
		a.complete[ev.Topic] = true
	}
}

// print prints the answers whose turn has come.
func (a *joinAnswers) print(ctx context.Context) error {
	for len(a.topics) > 0 {
		topic := a.topics[0]
		if !a.complete[topic] {
			return nil
		}
		a.topics = a.topics[1:]
		for _, ev := range a.answers[topic] {
			if err := a.out.print(&ev); err != nil {
				return err
			}
		}
	}
	return nil
}
