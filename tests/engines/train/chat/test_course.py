"""The loss is that of the answers, whatever is padded beside them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engines.train.tiny_models import needed, write_chat_model

torch = needed()

from engines.train.chat.base import ChatBase  # noqa: E402
from engines.train.chat.conversations import Tokens  # noqa: E402
from engines.train.chat.course import ChatCourse, learnt_logits  # noqa: E402

pytestmark = pytest.mark.slow

SHORT = Tokens([4, 7, 9, 10], [False, False, True, True])
LONG = Tokens([4, 6, 12, 13, 14, 15, 9], [False, False, False, False, True, True, False])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ChatBase(write_chat_model(tmp_path_factory.mktemp("models") / "chat")).model.eval()


def test_logits_are_those_that_predict_the_learnt_tokens(model: Any) -> None:
    with torch.inference_mode():
        logits, labels, rows = learnt_logits(model, [SHORT, LONG])
        whole = model(input_ids=torch.tensor([LONG.ids])).logits[0]
    assert labels.tolist() == [9, 10, 14, 15]
    assert rows.tolist() == [0, 0, 1, 1]
    assert torch.allclose(logits[2:], whole[3:5].float(), atol=1e-5)


def test_the_loss_is_the_mean_over_learnt_tokens(model: Any) -> None:
    course = ChatCourse(model, [SHORT, LONG], [SHORT, LONG], batch_size=2, seed=1)
    found = course.loss([SHORT, LONG])
    assert found.labels == 4
    judged = course.judge()
    assert judged.loss == pytest.approx(float(found.loss.detach()), abs=1e-4)
    assert judged.accuracy == found.right / 4
    assert course.validate().loss == judged.loss
    assert course.tokens([SHORT, LONG]) == 11


def test_an_answer_is_exact_when_all_its_tokens_are_the_likeliest(model: Any) -> None:
    ids = [4, 7]
    with torch.inference_mode():
        for _ in range(3):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    right = Tokens(ids, [False, False, True, True, True])
    wrong = Tokens([*ids[:-1], (ids[-1] + 1) % 20], right.learnt)
    assert ChatCourse(model, [right], [right, wrong], batch_size=2, seed=1).judge().exact == 0.5


def test_batches_hold_every_conversation(model: Any) -> None:
    course = ChatCourse(model, [SHORT, LONG] * 5, [SHORT], batch_size=4, seed=1)
    assert sorted(len(batch) for batch in course.batches(0)) == [2, 4, 4]
