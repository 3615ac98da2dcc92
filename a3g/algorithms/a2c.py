"""A2C: one learner whose lanes wait for each other, and one update per rollout, with means and a Huber loss for the critic."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from a3g.algorithms.a3c import A3C
from a3g.algorithms.actor_critic import Batch, LossParts, evaluate_actions


def a2c_loss(
    logits: Tensor, values: Tensor, actions: Tensor, advantages: Tensor, returns: Tensor, value_coef: float, entropy_coef: float
) -> LossParts:
    """The actor-critic loss (Mnih et al. 2016, section 4) as in https://github.com/CVHvn/Mario_A2C_A3C: means over all samples.

    Args:
        logits: float (T, lanes, actions).
        values: float (T, lanes).
        actions: int64 (T, lanes).
        advantages: float (T, lanes).
        returns: float (T, lanes), the critic's targets.
        value_coef: weight of the value loss, Huber's: half the square of errors up to 1, beyond that their size less a half.
        entropy_coef: weight of the entropy bonus.
    """
    chosen, entropies = evaluate_actions(logits, actions)
    entropy = entropies.mean()
    policy_loss = -(chosen * advantages).mean()
    value_loss = F.smooth_l1_loss(values, returns)
    total = policy_loss + value_coef * value_loss - entropy_coef * entropy
    return LossParts(total, policy_loss.detach(), value_loss.detach(), entropy.detach())


class A2C(A3C):
    """Collects and updates as A3C does; synchronous with one worker, in which all lanes make a step before the next."""

    def _loss(self, logits: Tensor, values: Tensor, batch: Batch) -> LossParts:
        targets = batch.actions, batch.advantages, batch.returns
        return a2c_loss(logits, values, *targets, self.options.value_coef, self.options.entropy_coef)
