"""Load an agent and print the probability, v and q that it gives to each command of a game's first turns.

    python examples/ask_agent.py [--agent actde-small] [--game "textworld:simple?seed=7"] [--turns 3]

`--agent` is the name of a shipped agent or the folder of a run. A value that the agent does not compute is nan.
"""

import argparse
import math
import sys

import agents
import games


def main() -> None:
    """Play some turns greedily, and print what the agent computes at each of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--agent", default="actde-small")
    parser.add_argument("--game", default="textworld:simple?seed=7")
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    try:
        agent = agents.make_agent(given.agent, seed=0, greedy=True)
        game = games.resolve(given.game)[0]
        env = game.make()
    except (agents.AgentError, games.GameError) as error:
        sys.exit(f"error: {error}")
    observation, info = env.reset(seed=0)
    reward, ended = 0.0, False
    for number in range(given.turns):
        turn = agents.Turn(
            episode=0,
            game=game.name,
            observation=observation,
            info=info,
            reward=reward,
            first=number == 0,
            prompt=env.metadata.get("prompt", "\n> "),
            terminator=env.metadata.get("terminator", "\n"),
        )
        (decision,) = agent.act([turn])
        value, entropy = (math.nan if x is None else x for x in (decision.value, decision.entropy))
        print(f"turn {number + 1}  v(s) {value:.2f}  entropy {entropy:.2f} nats")
        for command, probability in sorted(decision.probabilities.items(), key=lambda pair: -pair[1]):
            chosen = "*" if command == decision.command else " "
            print(f" {chosen} {probability:.3f}  q {decision.q_values.get(command, math.nan):6.2f}  {command}")
        observation, earned, terminated, truncated, info = env.step(decision.command)
        reward = float(earned)
        if ended := terminated or truncated:
            break
    end = agents.EpisodeEnd(
        episode=0, observation=observation, info=info, reward=reward, terminated=ended, truncated=not ended
    )
    agent.end([end])
    env.close()


if __name__ == "__main__":
    main()
